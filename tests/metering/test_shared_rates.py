"""Buckets of the whole node: like one bucket in one place, whoever takes, and never more than documented."""

from __future__ import annotations

import itertools
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.metering.keyed_cells import WAYS, KeyedCells, KeyedColumn
from clb.metering.shared_rates import SharedRates

COST, BURST = 100, 5
DEPTH = COST * BURST
KEY, LASTING = 2, 3


def processes(count: int, sets: int = 1) -> list[SharedRates]:
    cells = KeyedCells(count + 1, sets)
    columns = [KeyedColumn(cells, number, 1) for number in range(1, count + 1)]
    for column in columns:
        column.refresh(1)
    return [SharedRates(column) for column in columns]


class OneBucket:
    """What a bucket in one place would do."""

    def __init__(self) -> None:
        self._moment = 0

    def take(self, now: int) -> int:
        moment = max(self._moment, now) + COST
        if moment - now > DEPTH:
            return moment - now - DEPTH
        self._moment = moment
        return 0


def test_a_burst_and_then_the_rate() -> None:
    (rates,) = processes(1)
    assert [rates.take(KEY, 1000, COST, DEPTH) for _ in range(BURST + 1)] == [0] * BURST + [COST]
    assert rates.take(KEY, 1000 + COST - 1, COST, DEPTH) == 1
    assert rates.take(KEY, 1000 + COST, COST, DEPTH) == 0
    assert rates.take(KEY, 1000 + COST, COST, DEPTH) == COST


def test_a_refusal_costs_nothing() -> None:
    rates, other = processes(2)
    for _ in range(BURST):
        rates.take(KEY, 1000, COST, DEPTH)
    for _ in range(100):
        assert other.take(KEY, 1000, COST, DEPTH) == COST
    assert other.take(KEY, 1000 + COST, COST, DEPTH) == 0


TAKES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3 * COST)), max_size=300)


@given(TAKES)
def test_several_processes_are_one_bucket(takes: list[tuple[int, int]]) -> None:
    rates, model, now = processes(3), OneBucket(), 1_000_000
    for process, pause in takes:
        now += pause
        assert rates[process].take(KEY, now, COST, DEPTH) == model.take(now)


@given(TAKES, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2 * COST)), max_size=30))
def test_races_and_late_clocks_let_no_more_through_than_is_documented(
    takes: list[tuple[int, int]], races: list[tuple[int, int]]
) -> None:
    """Between another's decision and its writing that down, somebody else takes; and not all clocks are right."""
    rates, now, passed = processes(3), 1_000_000, []
    pending = iter(races)
    write = SharedRates._write

    def take(process: int, at: int) -> None:
        if rates[process].take(KEY, at, COST, DEPTH) == 0:
            passed.append(at)

    def interrupted(writer: SharedRates, *numbers: int) -> None:
        patch.setattr(SharedRates, "_write", write)
        for process, lateness in itertools.islice(pending, 1):
            if rates[process] is not writer:
                take(process, now - lateness)
        writer._write(*numbers)

    with pytest.MonkeyPatch.context() as patch:
        for process, pause in takes:
            now += pause
            patch.setattr(SharedRates, "_write", interrupted)
            take(process, now)
    for first, last in itertools.combinations_with_replacement(range(len(passed)), 2):
        taken = last - first + 1
        span = max(passed[first : last + 1]) - min(passed[first : last + 1])
        assert taken <= span / COST + BURST + len(rates) - 1


def test_a_place_that_is_free_again_is_taken_first() -> None:
    (rates,) = processes(1)
    for key in range(2, 2 * WAYS + 2, 2):
        rates.take(key, 1000, COST, DEPTH)
    rates.take(100, 1000 + COST, COST, DEPTH)
    assert rates.forgotten == 0


def test_who_owes_least_makes_room_and_who_lasts_does_not() -> None:
    (rates,) = processes(1)
    for _ in range(BURST):
        rates.take(LASTING, 1000, COST, DEPTH)
        rates.take(4, 1000, COST, DEPTH)
    for key in range(6, 2 * WAYS + 2, 2):
        rates.take(key, 1000, COST, DEPTH)
    for key in range(100, 300, 2):
        assert rates.take(key, 1000, COST, DEPTH) == 0
    assert rates.take(LASTING, 1000, COST, DEPTH) == COST
    assert rates.take(4, 1000, COST, DEPTH) == COST
    assert rates.forgotten == 100


def test_a_set_full_of_lasting_keys_still_lets_everybody_through() -> None:
    (rates,) = processes(1)
    for key in range(3, 2 * WAYS + 5, 2):
        assert rates.take(key, 1000, COST, DEPTH) == 0


def test_a_successor_goes_on_where_the_predecessor_stopped() -> None:
    cells = KeyedCells(2, 1)
    first = SharedRates(KeyedColumn(cells, 1, 1))
    for _ in range(BURST):
        first.take(KEY, 1000, COST, DEPTH)
    assert SharedRates(KeyedColumn(cells, 1, 1)).take(KEY, 1000, COST, DEPTH) == COST


def test_two_real_processes_share_one_rate() -> None:
    """They take as fast as they can, at the same time, from the same two buckets."""
    rate, burst, seconds, workers = 3000, 3000, 0.7, 2
    cells = KeyedCells(workers + 1)
    cost = 1_000_000_000 // rate
    keys = [cells.fingerprint(b"one"), cells.fingerprint(b"other", is_lasting=True)]
    start_at = time.monotonic_ns() + 200_000_000
    end_at = start_at + int(seconds * 1e9)
    pipes, children = [], []
    for number in range(1, workers + 1):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                column = KeyedColumn(cells, number, 1)
                while len(column.others) < workers - 1 or time.monotonic_ns() < start_at:
                    column.refresh(1)
                rates, passed, now = SharedRates(column), [0, 0], start_at
                # The first round is at the start and the last one at the end, whenever a busy machine lets us run.
                while True:
                    for index, key in enumerate(keys):
                        while rates.take(key, now, cost, cost * burst) == 0:
                            passed[index] += 1
                    if now == end_at:
                        break
                    now = min(time.monotonic_ns(), end_at)
                os.write(writing, b"%d %d" % tuple(passed))
            finally:
                os._exit(0)
        os.close(writing)
        pipes.append(reading)
        children.append(pid)
    answers = [os.read(pipe, 100).split() for pipe in pipes]
    for pid, pipe in zip(children, pipes, strict=True):
        os.waitpid(pid, 0)
        os.close(pipe)
    for index in range(2):
        parts = [int(answer[index]) for answer in answers]
        expected = rate * seconds + burst
        assert sum(parts) <= expected + workers, parts
        assert sum(parts) >= expected - workers, parts
