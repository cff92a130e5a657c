"""The order of weighted round robin: nginx's sequence, its start, and the queue in place of a long cycle."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random

import pytest

from clb.balancing.candidate import Candidate
from clb.balancing.wrr import WeightedRoundRobin, endless_turns


def group(*weights: int) -> list[Candidate[str]]:
    return [Candidate("10.0.0.5", at, weight, "abcdefgh"[at % 8]) for at, weight in enumerate(weights)]


def order(weights: tuple[int, ...], start: int, count: int) -> str:
    scheduler = WeightedRoundRobin(group(*weights), lambda below: start % below)
    return "".join(c.payload for _ in range(count) if (c := scheduler.choose(b"")) is not None)


ORDERS = {
    "nginx_example": ((5, 1, 1), 0, "aabacaa" * 2),
    "common_divisor": ((50, 10, 10), 0, "aabacaa"),
    "equal": ((10, 10, 10), 0, "abcabc"),
    "two_to_one": ((2, 1), 0, "abaaba"),
    "four_three_two": ((4, 3, 2), 0, "abcabacba" * 2),
    "starts_elsewhere": ((5, 1, 1), 2, "bacaaaa"),
    "equal_starts_elsewhere": ((1, 1, 1), 1, "bcabca"),
}


@pytest.mark.parametrize(("weights", "start", "expected"), ORDERS.values(), ids=ORDERS)
def test_order(weights: tuple[int, ...], start: int, expected: str) -> None:
    assert order(weights, start, len(expected)) == expected


def test_tried_are_skipped_in_order() -> None:
    a, b, c = members = group(5, 1, 1)
    scheduler = WeightedRoundRobin(members, lambda below: 0)
    assert [scheduler.choose(b"", [a]) for _ in range(4)] == [b, c, b, c]
    assert scheduler.choose(b"", members) is None


def test_a_cycle_is_exact_from_any_start() -> None:
    members = group(3, 7, 11)
    for start in range(21):
        turns = endless_turns(members, lambda below, start=start: start % below)
        assert Counter(islice(turns, 21)) == {c: c.weight for c in members}


LONG = [1 + at * 37 % 100 for at in range(100)]  # a cycle of 5,050 steps over 100 targets


def test_a_long_cycle_becomes_a_queue_with_the_same_shares() -> None:
    members = group(*LONG)
    turns = endless_turns(members, Random(3).randrange)
    rounds = 10
    counts = Counter(islice(turns, rounds * sum(LONG)))
    for candidate in members:
        assert abs(counts[candidate] - rounds * candidate.weight) <= 2


def test_a_queue_spreads_turns() -> None:
    members = group(*LONG)
    heaviest = max(members, key=lambda c: c.weight)
    turns = islice(endless_turns(members, Random(3).randrange), 5 * sum(LONG))
    at = [number for number, candidate in enumerate(turns) if candidate is heaviest]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert max(gaps) <= 2 * sum(LONG) / heaviest.weight


def test_workers_start_out_of_step() -> None:
    firsts = {
        (weights, next(endless_turns(group(*weights), Random(seed).randrange)).port)
        for seed in range(40)
        for weights in ((10, 10, 10), tuple(LONG))
    }
    assert len(firsts) > 10
