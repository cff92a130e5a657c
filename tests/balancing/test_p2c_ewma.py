"""What is expected of a target, who wins a comparison, and that nobody starves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.balancing.candidate import Candidate
from clb.balancing.p2c_ewma import EXPLORE_EVERY, PowerOfTwo
from clb.balancing.shared_load import SharedLoad


@dataclass
class View:
    """The table as one worker sees it."""

    own: memoryview
    others: list[memoryview]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def group(*weights: int) -> list[Candidate[None]]:
    return [Candidate("10.0.0.5", port, weight, None) for port, weight in enumerate(weights)]


def chooser(members: list[Candidate[None]], clock: Clock, seed: int = 3) -> PowerOfTwo[None]:
    return PowerOfTwo(members, Random(seed).randrange, clock)


def teach(scheduler: PowerOfTwo[None], clock: Clock, latencies: dict[Candidate[None], float]) -> None:
    for candidate, latency in latencies.items():
        scheduler.answered(candidate, latency, clock.now)
    scheduler.update(latencies)  # What is usual is looked at now and then; this is now.


def shares(scheduler: PowerOfTwo[None], choices: int = 6400) -> dict[int, float]:
    counts = Counter(c.port for _ in range(choices) if (c := scheduler.choose(b"")) is not None)
    return {port: count / choices for port, count in counts.items()}


def test_equal_latencies_share_exactly_by_weight() -> None:
    members, clock = group(1, 2, 3), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, dict.fromkeys(members, 0.02))
    assert shares(scheduler, 60_000) == pytest.approx({0: 1 / 6, 1: 2 / 6, 2: 3 / 6}, abs=0.001)


RATIOS = {  # case: (latency of one of three beside 10 ms, its share of all exchanges)
    "equal": (0.010, 1 / 3),
    "a_little_slower": (0.012, 1 / 3 * 0.8),
    "half_as_slow_again": (0.015, 1 / 3 * 0.5),
    "twice_as_slow": (0.020, 0.0),
    "a_hundred_times": (1.0, 0.0),
}


@pytest.mark.parametrize(("latency", "share"), RATIOS.values(), ids=RATIOS)
def test_share_of_a_slower_one(latency: float, share: float) -> None:
    members, clock = group(10, 10, 10), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, {members[0]: latency, members[1]: 0.01, members[2]: 0.01})
    explored = 1 / EXPLORE_EVERY
    assert shares(scheduler, 64_000)[0] == pytest.approx(share * (1 - explored) + explored / 3, abs=0.006)


@pytest.mark.parametrize("others", [1, 2, 9])
def test_the_worst_of_all_gets_its_part_of_the_exploration_and_less_than_a_hundredth(others: int) -> None:
    members, clock = group(*[10] * (others + 1)), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, {**dict.fromkeys(members, 0.001), members[0]: 30.0})
    assert shares(scheduler, EXPLORE_EVERY * (others + 1))[0] == 1 / (EXPLORE_EVERY * (others + 1))


def test_work_under_way_counts_as_so_many_answers_to_wait_for() -> None:
    fast, slow = members = group(10, 10)
    clock = Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, {fast: 0.01, slow: 0.03})
    fast.in_flight = 9  # 10 x 10 ms against 30 ms
    assert shares(scheduler)[slow.port] > 0.97


def test_a_larger_weight_carries_more_work() -> None:
    members, clock = group(10, 30), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, dict.fromkeys(members, 0.01))
    members[0].in_flight, members[1].in_flight = 10, 30
    assert shares(scheduler)[1] == pytest.approx(0.75, abs=0.01)


def test_a_new_target_is_taken_for_one_as_the_others() -> None:
    old, new = group(10, 10)
    clock = Clock()
    scheduler = chooser([old], clock)
    teach(scheduler, clock, {old: 0.5})
    scheduler.update([old, new])
    assert shares(scheduler) == pytest.approx({0: 0.5, 1: 0.5}, abs=0.01)


def test_a_slow_answer_is_news_at_once_and_a_quick_one_only_by_and_by() -> None:
    members, clock = group(10, 10, 10), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, dict.fromkeys(members, 0.01))
    scheduler.answered(members[0], 1.0, clock.now)
    assert shares(scheduler)[0] < 0.01
    for _ in range(20):
        scheduler.answered(members[0], 0.01, clock.now)
    assert shares(scheduler)[0] < 0.01
    for _ in range(60):
        clock.now += 1.0
        for member in members:
            scheduler.answered(member, 0.01, clock.now)
    assert shares(scheduler)[0] == pytest.approx(1 / 3, abs=0.02)


def test_without_news_what_was_bad_is_taken_for_usual_again() -> None:
    members, clock = group(10, 10, 10), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, {members[0]: 1.0, members[1]: 0.01, members[2]: 0.01})
    clock.now += 30.0
    assert shares(scheduler)[0] < 0.01
    clock.now += 60.0
    assert shares(scheduler)[0] == pytest.approx(1 / 3, abs=0.02)


def test_failures_count_as_slowness_that_grows_and_has_an_end() -> None:
    members, clock = group(10, 10, 10), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, dict.fromkeys(members, 0.01))
    scheduler.failed(members[0], clock.now)
    assert shares(scheduler)[0] < 0.01
    for _ in range(100):
        scheduler.failed(members[0], clock.now)
    clock.now += 130.0  # 60 s at most, forgotten to a third each 10 s.
    assert shares(scheduler)[0] == pytest.approx(1 / 3, abs=0.05)


def test_a_clock_that_is_behind_does_no_harm() -> None:
    members, clock = group(10, 10), Clock()
    scheduler = chooser(members, clock)
    teach(scheduler, clock, dict.fromkeys(members, 0.01))
    scheduler.answered(members[0], 0.005, clock.now - 1e9)
    clock.now -= 1e9
    assert shares(scheduler) == pytest.approx({0: 0.5, 1: 0.5}, abs=0.02)


def test_usual_is_what_most_take() -> None:
    members, clock = group(10, 10, 10, 10), Clock()
    scheduler = chooser(members[:3], clock)
    teach(scheduler, clock, {members[0]: 0.01, members[1]: 0.01, members[2]: 9.0})
    scheduler.update(members)
    assert shares(scheduler)[3] == pytest.approx(1 / 3, abs=0.02)


def test_one_that_has_left_may_still_be_running() -> None:
    stays, leaves = group(10, 10)
    clock = Clock()
    scheduler = chooser([stays, leaves], clock)
    scheduler.update([stays])
    scheduler.began(leaves)
    scheduler.answered(leaves, 0.1, clock.now)
    scheduler.failed(leaves, clock.now)
    scheduler.ended(leaves)
    assert scheduler.choose(b"") is stays


@given(
    latencies=st.lists(st.floats(0.0, 100.0), min_size=2, max_size=6),
    seed=st.integers(0, 1000),
)
def test_everybody_is_asked_now_and_then(latencies: list[float], seed: int) -> None:
    members, clock = group(*[10] * len(latencies)), Clock()
    scheduler = chooser(members, clock, seed)
    for member, latency in zip(members, latencies, strict=True):
        scheduler.answered(member, latency, clock.now)
    assert len(shares(scheduler, EXPLORE_EVERY * len(members))) == len(members)


# --- with other workers ---


def shared(columns: list[memoryview], own: int, member: Candidate[None]) -> None:
    others = [column for index, column in enumerate(columns) if index != own]
    member.shared = SharedLoad(View(columns[own], others), member.port * 8, member.port * 8 + 3)


def columns(count: int) -> list[memoryview]:
    return [memoryview(bytearray(8 * 8 * 4)).cast("q") for _ in range(count)]


def test_work_of_the_other_workers_counts_too() -> None:
    cells, clock = columns(3), Clock()
    members = group(10, 10)
    for member in members:
        shared(cells, 0, member)
    scheduler = chooser(members, clock)
    teach(scheduler, clock, dict.fromkeys(members, 0.01))
    cells[2][members[0].port * 8] = 5
    assert shares(scheduler)[0] < 0.01


def test_own_work_and_latency_are_told_to_the_others() -> None:
    cells, clock = columns(2), Clock()
    member, _ = members = group(10, 10)
    shared(cells, 1, member)
    scheduler = chooser(members, clock)
    member.in_flight = 2
    scheduler.began(member)
    assert cells[1][0] == 2
    scheduler.answered(member, 0.025, clock.now)
    assert cells[1][3] == 25_000
    member.in_flight = 1
    scheduler.ended(member)
    assert cells[1][0] == 1


def test_a_new_worker_begins_with_what_the_others_know() -> None:
    cells, clock = columns(3), Clock()
    slow, fast = members = group(10, 10)
    for member in members:
        shared(cells, 0, member)
    cells[1][slow.port * 8 + 3], cells[2][slow.port * 8 + 3] = 900_000, 1_100_000
    cells[1][fast.port * 8 + 3] = 10_000
    assert shares(chooser(members, clock))[slow.port] < 0.01
