"""The shared table of keys nobody can list beforehand: columns, who is alive, fingerprints."""

from __future__ import annotations

from clb.metering.keyed_cells import STALE_MS, KeyedCells, KeyedColumn
from clb.metering.shared_counts import SharedCounts

NOW = 1_000_000


def test_a_fingerprint_is_of_the_parts_and_of_the_table() -> None:
    cells = KeyedCells(2, sets=4)
    assert cells.fingerprint(b"a", b"b") == cells.fingerprint(b"a", b"b")
    others = {cells.fingerprint(b"ab"), cells.fingerprint(b"a", b"c"), KeyedCells(2, sets=4).fingerprint(b"a", b"b")}
    assert cells.fingerprint(b"a", b"b") not in others


def test_the_lowest_bit_of_a_fingerprint_says_that_it_lasts() -> None:
    cells = KeyedCells(2, sets=4)
    for number in range(100):
        part = b"%d" % number
        passing, lasting = cells.fingerprint(part), cells.fingerprint(part, is_lasting=True)
        assert (passing & 1, lasting) == (0, passing | 1)
        assert 0 < passing < 1 << 63


def test_columns_are_seen_while_their_processes_sign() -> None:
    cells = KeyedCells(4, sets=4)
    first = KeyedColumn(cells, 1, NOW)
    assert first.others == ()
    second = KeyedColumn(cells, 2, NOW)
    first.refresh(NOW + 1)
    assert (first.others, second.others) == ((second.base,), (first.base,))
    first.refresh(NOW + STALE_MS)
    assert first.others == (second.base,)
    first.refresh(NOW + STALE_MS + 1)
    assert first.others == ()


def test_a_successor_forgets_the_counts_of_its_predecessor() -> None:
    cells = KeyedCells(3, sets=4)
    counts, observer = SharedCounts(KeyedColumn(cells, 1, NOW)), KeyedColumn(cells, 2, NOW)
    key = cells.fingerprint(b"a")
    counts.add(key)
    assert SharedCounts(observer).total(key) == 1
    SharedCounts(KeyedColumn(cells, 1, NOW))
    assert SharedCounts(observer).total(key) == 0


def test_a_column_that_is_forgotten_is_seen_by_nobody() -> None:
    cells = KeyedCells(3, sets=4)
    gone, observer = KeyedColumn(cells, 1, NOW), KeyedColumn(cells, 2, NOW)
    key = cells.fingerprint(b"a")
    SharedCounts(gone).add(key)
    observer.refresh(NOW)
    assert observer.others == (gone.base,)
    cells.forget(1)
    cells.forget(1)
    observer.refresh(NOW)
    assert observer.others == ()
    KeyedColumn(cells, 1, NOW)
    observer.refresh(NOW)
    assert SharedCounts(observer).total(key) == 0
