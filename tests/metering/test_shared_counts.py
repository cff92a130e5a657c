"""Counts by key over several processes: sums, what finds no place, what comes back."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clb.metering.keyed_cells import WAYS, KeyedCells, KeyedColumn
from clb.metering.shared_counts import SharedCounts

STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6), st.booleans()), max_size=200)


def processes(count: int, sets: int = 1) -> list[SharedCounts]:
    cells = KeyedCells(count + 1, sets)
    columns = [KeyedColumn(cells, number, 1) for number in range(1, count + 1)]
    for column in columns:
        column.refresh(1)
    return [SharedCounts(column) for column in columns]


@given(STEPS)
def test_every_process_sees_the_sum(steps: list[tuple[int, int, bool]]) -> None:
    counts, model = processes(3), [Counter[int]() for _ in range(3)]
    for process, key, is_more in steps:
        if is_more:
            counts[process].add(key * 2)
            model[process][key] += 1
        elif model[process][key]:
            counts[process].remove(key * 2)
            model[process][key] -= 1
    for key in range(1, 7):
        assert {one.total(key * 2) for one in counts} == {sum(each[key] for each in model)}


def test_a_key_without_a_place_is_counted_by_its_own_process_only() -> None:
    one, other = processes(2)
    for key in range(2, 2 * WAYS + 2, 2):
        one.add(key)
    one.add(100)
    assert (one.total(100), other.total(100)) == (1, 0)
    one.remove(2)  # There is a place now, and the next change takes it.
    one.add(100)
    assert (one.total(100), other.total(100)) == (2, 2)


def test_a_key_that_never_found_a_place_leaves_without_a_trace() -> None:
    one, other = processes(2)
    for key in range(2, 2 * WAYS + 2, 2):
        one.add(key)
    one.add(100)
    one.remove(100)
    assert [other.total(key) for key in (2, 100)] == [1, 0]
