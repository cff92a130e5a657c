"""The ledgers of a worker: one for each record, found again, kept in a compacted file, shared in a full one."""

from __future__ import annotations

from pathlib import Path

import pytest

from clb.metering import ledger_registry
from clb.metering.counter_reader import CounterReader
from clb.metering.counters import Traffic
from clb.metering.ledger_registry import Ledgers, ledgers_in, ledgers_in_memory


def quiet(_: str) -> None:
    """Nobody wants to know."""


def test_a_record_has_one_ledger(tmp_path: Path) -> None:
    ledgers = ledgers_in(tmp_path, quiet)
    rule = ledgers.rule("lb/l a/")
    assert ledgers.rule("lb/l a/") is rule
    assert ledgers.rule("lb/l b/") is not rule
    assert ledgers.path is not None
    ledgers.close()


def test_a_successor_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    first = ledgers_in(tmp_path, quiet)
    target, listener = first.target("lb/l a/ 10.0.0.1:80"), first.listener("lb/l")
    target.answered(200, 0.5)
    listener.answered(404)
    first.close()
    second = ledgers_in(tmp_path, quiet)
    assert second.target("lb/l a/ 10.0.0.1:80").requests == 1
    assert second.listener("lb/l").requests == 1
    second.close()


def test_counting_in_memory_has_no_file() -> None:
    assert ledgers_in_memory().path is None


def test_what_finds_no_room_is_counted_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ledgers = ledgers_in(tmp_path, quiet)
    monkeypatch.setattr(type(ledgers._file), "record", _no_room(ledgers))
    one, other = ledgers.rule("lb/l x/"), ledgers.rule("lb/l y/")
    assert one is other
    one.answered(404)
    assert other.requests == 1
    monkeypatch.undo()
    ledgers.close()


def _no_room(ledgers: Ledgers):
    really = type(ledgers._file).record

    def record(self, kind, key):
        return None if key.endswith(("x/", "y/")) else really(self, kind, key)

    return record


@pytest.mark.parametrize("disk_is_full", [False, True], ids=["compacted", "disk full"])
def test_a_crowded_file_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, disk_is_full: bool) -> None:
    ledgers = ledgers_in(tmp_path, quiet)
    ledgers.make_room()  # Nothing to do.
    kept_listener, kept_target = ledgers.listener("lb/l"), ledgers.target("lb/l a/ t:1")
    kept_listener.answered(404)
    kept_target.answered(200, 0.1)
    for number in range(20):
        ledgers.rule(f"lb/l gone{number}/").answered(500)
    monkeypatch.setattr(type(ledgers._file), "is_crowded", True)
    if disk_is_full:
        monkeypatch.setattr(ledger_registry, "compact", _full)
    ledgers.make_room()
    kept_listener.answered(404)
    kept_target.answered(200, 0.1)
    # What nobody counts in any more has gone to what it belonged to.
    gone = 0 if disk_is_full else 20
    assert (kept_listener.requests, kept_target.requests) == (2 + gone, 2)
    monkeypatch.undo()
    ledgers.close()
    again = ledgers_in(tmp_path, quiet)
    assert again.listener("lb/l").requests == 2 + gone
    assert again.target("lb/l a/ t:1").requests == 2
    again.close()


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


class Connection:
    """One that is open and stores what it has."""

    wire_in = billed_in = wire_out = billed_out = handshake_in = handshake_out = 0
    lanes = memoryview(b"")
    lane_at = 0

    def passes(self, size: int) -> None:
        self.wire_in += size
        self.store()

    def store(self) -> None:
        self.lanes[self.lane_at] = self.wire_in

    def traffic(self) -> Traffic:
        return Traffic(wire_in=self.wire_in, overhead_in=self.wire_in)


@pytest.mark.parametrize("had_room", [True, False], ids=["lanes in the file", "lanes in memory before"])
def test_connections_go_on_counting_in_a_compacted_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, had_room: bool
) -> None:
    ledgers = ledgers_in(tmp_path, quiet)
    really = type(ledgers._file).record
    if not had_room:
        monkeypatch.setattr(
            type(ledgers._file), "record", lambda self, kind, key: None if key == "lb/l 0" else really(self, kind, key)
        )
    listener, before, after = ledgers.listener("lb/l"), Connection(), Connection()
    for _ in range(3):  # The lane has been in more than one hand.
        closed = Connection()
        listener.opened(closed)
        closed.passes(10)
        listener.ended(closed, closed.traffic())
    listener.opened(before)
    before.passes(5)
    monkeypatch.undo()
    for number in range(30):
        ledgers.rule(f"lb/l gone{number}/")
    monkeypatch.setattr(type(ledgers._file), "is_crowded", True)
    ledgers.make_room()
    before.passes(2)
    listener.opened(after)
    after.passes(1)
    assert listener.snapshot().wire_in == 38
    reader = CounterReader(tmp_path)
    assert reader.read().listeners["lb/l"]["wire_in"] == 38
    reader.close()
    ledgers.close()


def test_where_there_is_no_room_either_connections_keep_their_lanes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledgers = ledgers_in(tmp_path, quiet)
    really = type(ledgers._file).record
    monkeypatch.setattr(
        type(ledgers._file), "record", lambda self, kind, key: None if key == "lb/l 0" else really(self, kind, key)
    )
    listener, connection = ledgers.listener("lb/l"), Connection()
    listener.opened(connection)
    connection.passes(5)
    for number in range(30):
        ledgers.rule(f"lb/l gone{number}/")
    monkeypatch.setattr(type(ledgers._file), "is_crowded", True)
    ledgers.make_room()
    connection.passes(2)
    assert listener.snapshot().wire_in == 7
    ledgers.close()
