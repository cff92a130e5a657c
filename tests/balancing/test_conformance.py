"""What every strategy promises, run against each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clb.balancing.candidate import Candidate
from clb.balancing.scheduler import Scheduler, create_scheduler

STRATEGIES = ("wrr", "least_conn", "p2c_ewma", "ip_hash", "maglev")
Make = Callable[..., Scheduler[None]]


def client(number: int) -> bytes:
    return b"203.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)


def candidates(*weights: int) -> list[Candidate[None]]:
    return [Candidate(f"10.0.0.{at}", 8080, weight, None) for at, weight in enumerate(weights, 1)]


@pytest.fixture(params=STRATEGIES)
def make(request: pytest.FixtureRequest) -> Make:
    return lambda chosen_from: create_scheduler(request.param, chosen_from, Random(7).randrange, lambda: 0.0)


def chosen(scheduler: Scheduler[None], choices: int = 400) -> Counter[Candidate[None] | None]:
    return Counter(scheduler.choose(client(number)) for number in range(choices))


def test_nobody_to_choose_from(make: Make) -> None:
    scheduler = make([])
    assert scheduler.choose(b"k") is None
    assert scheduler.choose(b"k", candidates(10)) is None
    assert not scheduler.all_unavailable


def test_one_candidate_gets_all(make: Make) -> None:
    (only,) = group = candidates(10)
    assert set(chosen(make(group))) == {only}


def test_everyone_gets_work(make: Make) -> None:
    group = candidates(10, 10, 10, 10)
    assert set(chosen(make(group))) == set(group)


@pytest.mark.parametrize("weights", [(1, 1), (1, 3), (5, 1, 1), (10, 20, 30, 40), (100, 1), (7, 0, 13)])
def test_shares_follow_weights(make: Make, weights: tuple[int, ...]) -> None:
    group = candidates(*weights)
    counts = chosen(make(group), 20_000)
    for candidate in group:
        expected = candidate.weight / sum(weights)
        # Four standard deviations of 20,000 draws, for the strategy that hashes.
        assert counts[candidate] / 20_000 == pytest.approx(expected, abs=4 * (expected / 20_000) ** 0.5)


def test_weight_0_takes_no_work(make: Make) -> None:
    idle, busy = group = candidates(0, 10)
    assert set(chosen(make(group))) == {busy}
    busy.weight = 0
    scheduler = make(group)
    assert scheduler.choose(b"k") is None
    assert not scheduler.all_unavailable
    assert idle.weight == 0


def test_unavailable_takes_no_work_and_returns(make: Make) -> None:
    first, second = group = candidates(10, 10)
    scheduler = make(group)
    first.available = False
    scheduler.changed()
    assert set(chosen(scheduler)) == {second}
    assert not scheduler.all_unavailable
    first.available = True
    scheduler.changed()
    assert set(chosen(scheduler)) == {first, second}


def test_all_dead_all_alive(make: Make) -> None:
    first, second, drained = group = candidates(10, 10, 0)
    for candidate in group:
        candidate.available = False
    scheduler = make(group)
    assert scheduler.all_unavailable
    assert set(chosen(scheduler)) == {first, second}
    drained.available = True  # weight 0: it is not what the others are waiting for
    scheduler.changed()
    assert scheduler.all_unavailable
    assert set(chosen(scheduler)) == {first, second}
    first.available = True
    scheduler.changed()
    assert not scheduler.all_unavailable
    assert set(chosen(scheduler)) == {first}


def test_a_weight_changes_in_place(make: Make) -> None:
    first, second = group = candidates(10, 10)
    scheduler = make(group)
    first.weight = 0
    scheduler.changed()
    assert set(chosen(scheduler)) == {second}


def test_another_set_of_candidates(make: Make) -> None:
    first, second, third = candidates(10, 10, 10)
    scheduler = make([first, second])
    scheduler.update([second, third])
    assert set(chosen(scheduler)) == {second, third}
    scheduler.update([])
    assert scheduler.choose(b"k") is None


def test_tried_are_excluded_until_none_is_left(make: Make) -> None:
    group = candidates(10, 1, 100, 10)
    scheduler = make(group)
    for number in range(200):
        tried: list[Candidate[None]] = []
        while (candidate := scheduler.choose(client(number), tried)) is not None:
            assert candidate not in tried
            tried.append(candidate)
        assert set(tried) == set(group)


def test_tried_may_have_left_the_rule(make: Make) -> None:
    gone, first, second = candidates(10, 10, 10)
    scheduler = make([first, second])
    assert scheduler.choose(b"k", [gone, first]) is second


def test_any_key_will_do(make: Make) -> None:
    scheduler = make(candidates(10, 10))
    for key in (b"", b"2001:db8::1", b"\xff" * 100):
        assert scheduler.choose(key) is not None


@settings(deadline=None)  # A table takes its time where the machine is busy.
@given(
    name=st.sampled_from(STRATEGIES),
    states=st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.integers(0, 50)), max_size=6),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_only_takers_are_chosen(name: str, states: list[tuple[int, bool, int]], seed: int, data: st.DataObject) -> None:
    group = candidates(*(weight for weight, _, _ in states))
    for candidate, (_, available, in_flight) in zip(group, states, strict=True):
        candidate.available = available
        candidate.in_flight = in_flight
    tried = data.draw(st.lists(st.sampled_from(group), unique=True)) if group else []
    weighted = [c for c in group if c.weight]
    takers = [c for c in weighted if c.available] or weighted
    scheduler = create_scheduler(name, group, Random(seed).randrange, lambda: 0.0)
    for number in range(20):
        candidate = scheduler.choose(client(number), tried)
        assert candidate in [c for c in takers if c not in tried] or (
            candidate is None and not set(takers) - set(tried)
        )
    assert scheduler.all_unavailable == (bool(weighted) and not any(c.available for c in weighted))
