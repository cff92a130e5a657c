"""Ledgers on records: what is stored when, and that nothing that was counted is lost, moved or counted twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.metering.counter_fields import LANES_IN_A_RECORD, UNKNOWN_REASON, Kind
from clb.metering.counters import Traffic
from clb.metering.lanes import LANE_WORDS, lane_number, lane_sums, take_lane, versions
from clb.metering.ledgers import Ledger, ListenerLedger, RuleLedger, TargetLedger, blank_record


class Connection:
    """One that is open: four numbers that it stores, and the classes that are known at its end only."""

    def __init__(self) -> None:
        self.wire_in = self.billed_in = self.wire_out = self.billed_out = 0
        self.handshake_in = self.handshake_out = 0
        self.lanes = blank_record(Kind.LANES)
        self.lane_at = 0
        self.rest = Traffic()

    def passes(self, **bytes_: int) -> None:
        for name, size in bytes_.items():
            setattr(self, name, getattr(self, name) + size)
        self.store()

    def store(self) -> None:
        for place, number in enumerate((self.wire_in, self.billed_in, self.wire_out, self.billed_out)):
            self.lanes[self.lane_at + place] = number

    def traffic(self) -> Traffic:
        traffic = Traffic(
            wire_in=self.wire_in,
            billed_in=self.billed_in,
            wire_out=self.wire_out,
            billed_out=self.billed_out,
            handshake_in=self.handshake_in,
            handshake_out=self.handshake_out,
        )
        traffic.add(self.rest)
        return traffic


def opened(ledger: ListenerLedger) -> Connection:
    connection = Connection()
    ledger.opened(connection)
    return connection


# --- lanes ---


@given(st.lists(st.tuples(st.integers(0, LANES_IN_A_RECORD - 1), *[st.integers(0, 2**40)] * 4), max_size=30))
def test_a_lane_keeps_what_connections_before_left_in_it(stays: list[tuple[int, int, int, int, int]]) -> None:
    record, total = blank_record(Kind.LANES), [0, 0, 0, 0]
    for number, *numbers in stays:
        at = take_lane(record, number)
        assert lane_number(at) == number
        for place, each in enumerate(numbers):
            record[at + place] = each
            total[place] += each
        assert lane_sums(record) == total
    assert len(versions(record)) == len(record) // LANE_WORDS


def test_a_lane_that_nothing_was_left_in_stays_as_it_is() -> None:
    record = blank_record(Kind.LANES)
    assert take_lane(record, 3) == take_lane(record, 3)
    assert not any(record)


# --- a listener ---


def test_open_and_closed_connections_add_up() -> None:
    ledger = ListenerLedger()
    first, second = opened(ledger), opened(ledger)
    first.passes(wire_in=10, billed_in=10)
    second.passes(wire_in=5, billed_in=5)
    assert ledger.connections == 2
    assert (ledger.snapshot().wire_in, ledger.snapshot().billed_in) == (15, 15)
    first.passes(wire_in=2, billed_in=2)
    ledger.ended(first, first.traffic())
    assert ledger.snapshot() == Traffic(wire_in=17, billed_in=17)
    third = opened(ledger)  # In the lane that became free.
    third.passes(wire_out=7, billed_out=7)
    assert ledger.snapshot() == Traffic(wire_in=17, billed_in=17, wire_out=7, billed_out=7)
    for each in (second, third):
        ledger.ended(each, each.traffic())
    assert not ledger.live
    assert ledger.residuals == 0
    assert ledger.snapshot() == Traffic(wire_in=17, billed_in=17, wire_out=7, billed_out=7)


@pytest.mark.parametrize("rest", [Traffic(wire_in=1), Traffic(wire_out=1), Traffic(billed_out=1)])
def test_a_connection_that_does_not_add_up_is_counted(rest: Traffic) -> None:
    ledger = ListenerLedger()
    ledger.ended(opened(ledger), rest)
    assert ledger.residuals == 1


def test_handshakes_count_when_the_session_is_up_or_at_the_end() -> None:
    ledger = ListenerLedger()
    connection = opened(ledger)
    connection.passes(wire_in=300, wire_out=900)
    connection.rest = Traffic(handshake_in=300, handshake_out=900)
    assert ledger.snapshot().handshake_in == 300  # Asked of the open connection.
    connection.handshake_in, connection.handshake_out, connection.rest = 300, 900, Traffic()
    ledger.shook_hands(300, 900)
    ledger.established(resumed=False)
    assert ledger.snapshot().handshake_out == 900
    ledger.ended(connection, connection.traffic())
    broken = opened(ledger)
    broken.passes(wire_in=40)
    broken.rest = Traffic(handshake_in=40)
    ledger.handshakes_failed["timeout"] += 1
    ledger.ended(broken, broken.traffic())
    ledger.established(resumed=True)
    assert (ledger.handshakes_full, ledger.handshakes_resumed) == (1, 1)
    assert dict(ledger.handshakes_failed) == {"timeout": 1}
    assert (ledger.snapshot().handshake_in, ledger.residuals) == (340, 0)


def test_what_is_unsent_is_in_no_other_class() -> None:
    ledger = ListenerLedger()
    connection = opened(ledger)
    connection.passes(wire_out=100, billed_out=100)
    ledger.ended(connection, Traffic(wire_out=60, billed_out=60, unsent_out=40, unsent_billed_out=40))
    total = ledger.snapshot()
    assert (total.wire_out, total.billed_out, total.unsent_out) == (60, 60, 40)


def test_an_open_connection_is_asked_for_its_overhead() -> None:
    ledger = ListenerLedger()
    connection = opened(ledger)
    connection.passes(wire_out=30, billed_out=8)
    connection.rest = Traffic(overhead_out=22)
    assert ledger.snapshot().overhead_out == 22


def test_more_connections_than_a_record_has_lanes() -> None:
    made = []

    def more(number: int) -> memoryview | None:
        made.append(number)
        return blank_record(Kind.LANES) if number else None  # No room in the file for the first.

    ledger = ListenerLedger(None, more)
    connections = [opened(ledger) for _ in range(LANES_IN_A_RECORD + 1)]
    for connection in connections:
        connection.passes(wire_in=1, billed_in=1)
    assert made == [0, 1]
    assert ledger.snapshot().wire_in == LANES_IN_A_RECORD + 1


def test_a_ledger_goes_on_in_other_records() -> None:
    ledger = ListenerLedger()
    open_one, closed_one = opened(ledger), opened(ledger)
    open_one.passes(wire_in=3, billed_in=3)
    closed_one.passes(wire_in=4, billed_in=4)
    ledger.ended(closed_one, closed_one.traffic())
    copies = {id(each): _copy(each) for each in ledger.lanes}
    ledger.moved(_copy(ledger.record), copies)
    open_one.passes(wire_in=1, billed_in=1)
    opened(ledger).passes(wire_in=2, billed_in=2)
    assert ledger.snapshot().wire_in == 10
    assert ledger.connections == 3


def _copy(record: memoryview) -> memoryview:
    return memoryview(bytearray(record.cast("B"))).cast("Q")


def test_requests_and_refusals_by_their_words() -> None:
    ledger = ListenerLedger()
    ledger.answered(404)
    ledger.answered(503)
    ledger.proxy_header(28)
    ledger.plain_http(16)
    ledger.refused["bad_host"] += 2
    ledger.refused["a word that nobody knows"] += 1
    assert ledger.requests == 2
    assert dict(ledger.refused) == {"bad_host": 2, UNKNOWN_REASON: 1}
    assert len(ledger.refused) == 2


# --- a rule, a target ---


def test_a_rule_counts_what_no_real_server_answered() -> None:
    ledger = RuleLedger()
    ledger.answered(0)
    ledger.answered(504)
    ledger.adds(10, 20)
    assert (ledger.requests, ledger.billed_in, ledger.billed_out) == (2, 10, 20)


def test_a_target_counts_answers_failures_and_time() -> None:
    ledger = TargetLedger()
    ledger.answered(200, 0.25)
    ledger.answered(502, 0.5)
    ledger.adds(100, 1000)
    ledger.connected()
    ledger.retried()
    ledger.attempt_failed("dial_refused")
    ledger.publish()
    ledger.publish()
    again = TargetLedger(ledger.record)
    assert (again.requests, again.billed_in, again.billed_out, again.retries) == (2, 100, 1000, 1)
    assert dict(again.failed) == {"dial_refused": 1}
    assert again.requests_2xx == 1


@pytest.mark.parametrize(("unsent", "left"), [(0, 100), (40, 60), (100, 0), (500, 0)])
def test_a_target_gives_back_what_never_arrived(unsent: int, left: int) -> None:
    ledger = TargetLedger()
    ledger.adds(0, 100)
    ledger.take_back(unsent)
    assert ledger.billed_out == left


def test_a_ledger_without_a_record_has_one_of_its_own() -> None:
    ledgers: list[Ledger] = [RuleLedger(), RuleLedger()]
    ledgers[0].record[0] = 7
    assert ledgers[1].record[0] == 0
