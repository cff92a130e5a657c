"""Sums of bytes by class: what adds up, and what is taken out again when a peer went away."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.metering.counters import ListenerLedger, RuleLedger, Traffic, after_abort

CLASSES = [field.name for field in fields(Traffic)]
COUNTS = st.integers(0, 1 << 40)
RECORD = 16384


def test_every_class_is_added() -> None:
    total = Traffic(**dict.fromkeys(CLASSES, 1))
    total.add(Traffic(**{name: 10 + number for number, name in enumerate(CLASSES)}))
    assert [getattr(total, name) for name in CLASSES] == [11 + number for number in range(len(CLASSES))]


def test_residuals_are_what_is_in_no_class() -> None:
    traffic = Traffic(
        wire_in=100, handshake_in=50, billed_in=30, overhead_in=15, wire_out=9, billed_out=10, unsent_out=7
    )
    assert (traffic.residual_in, traffic.residual_out) == (5, -1)


# --- after an abort ---

# case: (handshake, billed, overhead as written, acknowledged, expansion) -> handshake, billed, overhead, unsent
ABORTS = {
    "all_arrived": ((1000, 500, 22, 1522, 22), (1000, 500, 22, 0)),
    "more_acknowledged_than_written": ((1000, 500, 22, 9999, 22), (1000, 500, 22, 0)),
    "last_byte_missing": ((1000, 500, 22, 1521, 22), (1000, 500, 21, 1)),
    "last_record_missing": ((1000, 500, 22, 1000, 22), (1000, 0, 0, 522)),
    "some_of_the_last_record": ((1000, 500, 22, 1100, 22), (1000, 100, 0, 422)),
    "into_the_handshake": ((1000, 500, 22, 300, 22), (300, 0, 0, 1222)),
    "nothing_arrived": ((1000, 500, 22, 0, 22), (0, 0, 0, 1522)),
    "two_full_records_of_four": (
        (1000, 4 * RECORD, 4 * 22, 1000 + 2 * (RECORD + 22), 22),
        (1000, 2 * RECORD, 2 * 22, 2 * (RECORD + 22)),
    ),
    "a_record_and_a_bit": (
        (0, 4 * RECORD, 4 * 22, 4 * (RECORD + 22) - (RECORD + 22 + 100), 22),
        (0, 3 * RECORD - 78, 2 * 22, RECORD + 22 + 100),
    ),
    "overhead_without_payload": ((1000, 0, 24, 1000, 22), (1000, 0, 0, 24)),
    "plain_listener": ((0, 500, 0, 200, 0), (0, 200, 0, 300)),
}


@pytest.mark.parametrize(("written", "expected"), ABORTS.values(), ids=ABORTS)
def test_after_abort(written: tuple[int, int, int, int, int], expected: tuple[int, int, int, int]) -> None:
    handshake, billed, overhead, acknowledged, expansion = written
    wire = handshake + billed + overhead
    traffic = Traffic(wire_out=wire, handshake_out=handshake, billed_out=billed, overhead_out=overhead)
    after = after_abort(traffic, acknowledged, expansion, RECORD)
    assert (after.handshake_out, after.billed_out, after.overhead_out, after.unsent_out) == expected
    assert after.residual_out == 0
    assert after.wire_out == min(wire, acknowledged)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from([0, 21, 22, 29, 57]))
def test_after_abort_always_adds_up(
    handshake: int, billed: int, overhead: int, acknowledged: int, expansion: int
) -> None:
    wire = handshake + billed + overhead
    traffic = Traffic(
        wire_in=7, billed_in=7, wire_out=wire, handshake_out=handshake, billed_out=billed, overhead_out=overhead
    )
    after = after_abort(traffic, acknowledged, expansion, RECORD)
    assert after.residual_out == 0
    assert after.residual_in == 0
    assert after.wire_out == min(wire, acknowledged)
    assert after.unsent_out == wire - after.wire_out
    assert 0 <= after.handshake_out <= handshake
    assert 0 <= after.billed_out <= billed
    assert 0 <= after.overhead_out <= overhead
    # Nothing of the handshake is missing while anything behind it has arrived.
    assert after.handshake_out == handshake or after.billed_out == after.overhead_out == 0


# --- a listener ---


class Connection:
    """One that is open, and has had so much traffic."""

    def __init__(self, **classes: int) -> None:
        self._traffic = Traffic(**classes)

    def traffic(self) -> Traffic:
        return self._traffic


def test_snapshot_sums_open_and_closed() -> None:
    ledger = ListenerLedger()
    first, second = Connection(wire_in=10, billed_in=10), Connection(wire_in=5, billed_in=5)
    ledger.opened(first)
    ledger.opened(second)
    assert ledger.connections == 2
    assert ledger.snapshot() == Traffic(wire_in=15, billed_in=15)
    ledger.ended(first, Traffic(wire_in=12, billed_in=12))
    assert ledger.snapshot() == Traffic(wire_in=17, billed_in=17)
    assert ledger.closed == Traffic(wire_in=12, billed_in=12)
    # A snapshot is a copy: asking changes nothing.
    ledger.snapshot().add(Traffic(wire_in=1000))
    assert ledger.snapshot() == Traffic(wire_in=17, billed_in=17)
    ledger.ended(second, second.traffic())
    assert ledger.live == set()
    assert ledger.closed == ledger.snapshot()
    assert ledger.residuals == 0


@pytest.mark.parametrize("traffic", [Traffic(wire_in=1), Traffic(wire_out=1), Traffic(billed_out=1)])
def test_a_closed_connection_that_does_not_add_up_is_counted(traffic: Traffic) -> None:
    ledger = ListenerLedger()
    ledger.ended(Connection(), traffic)
    assert ledger.residuals == 1


@given(st.lists(st.tuples(st.booleans(), *[st.integers(0, 1000)] * 4), max_size=20))
def test_no_byte_is_lost_between_open_and_closed(connections: list[tuple[bool, int, int, int, int]]) -> None:
    ledger, total = ListenerLedger(), Traffic()
    for is_over, *counts in connections:
        classes = dict(zip(("wire_in", "billed_in", "wire_out", "billed_out"), counts, strict=True))
        connection = Connection(**classes)
        total.add(connection.traffic())
        ledger.opened(connection)
        if is_over:
            ledger.ended(connection, connection.traffic())
    assert ledger.snapshot() == total
    assert ledger.connections == len(connections)


# --- a rule ---


class Exchange:
    """One that is not over."""

    billed_in = 3
    billed_out = 40


def test_rule_counts_exchanges_that_are_not_over_but_not_as_requests() -> None:
    ledger = RuleLedger()
    ledger.requests, ledger.billed_in, ledger.billed_out = 2, 10, 100
    now = ledger.snapshot([Exchange(), Exchange()])
    assert (now.requests, now.billed_in, now.billed_out) == (2, 16, 180)
    assert (ledger.requests, ledger.billed_in, ledger.billed_out) == (2, 10, 100)


@pytest.mark.parametrize(("unsent", "left"), [(0, 100), (40, 60), (100, 0), (500, 0)])
def test_rule_gives_back_what_never_arrived(unsent: int, left: int) -> None:
    ledger = RuleLedger()
    ledger.billed_out = 100
    ledger.take_back(unsent)
    assert ledger.billed_out == left
