"""What a real server says and does about idle connections, and the bound that follows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.proxy.idle_limit import IdleLimit

LESSONS = {  # case: (idle times of connections that the real server ended, in order, what is learned)
    "one": ([5.0], 5.0),
    "the_shortest_of_the_same": ([5.2, 5.0, 5.1], 5.0),
    "longer_since_yesterday": ([5.0, 30.0], 30.0),
    "shorter_since_yesterday": ([30.0, 5.0], 5.0),
    "behind_an_answer_is_no_lesson": ([0.05, 0.0], None),
    "and_does_not_disturb_one": ([5.0, 0.01], 5.0),
}


@pytest.mark.parametrize(("ends", "learned"), LESSONS.values(), ids=LESSONS)
def test_what_is_learned(ends, learned):
    limit = IdleLimit(60.0)
    for idle_s in ends:
        limit.ended(idle_s)
    assert limit.learned_s == learned


LIMITS = {  # case: (configured, announced, learned, bound)
    "nothing_known": (60.0, None, None, 60.0),
    "announced": (60.0, 5, None, 4.25),
    "learned": (60.0, None, 1.0, 0.8),
    "the_shorter_of_both": (60.0, 5, 2.0, 1.7),
    "configured_is_shorter": (3.0, 5, None, 3.0),
    "a_long_one_has_a_margin_of_two_seconds": (600.0, 75, None, 73.0),
    "announced_nonsense": (60.0, 0, None, 60.0),
    "announced_for_ever": (60.0, 99_999, None, 60.0),
}


@pytest.mark.parametrize(("configured", "announced", "learned", "bound"), LIMITS.values(), ids=LIMITS)
def test_the_bound(configured, announced, learned, bound):
    limit = IdleLimit(configured)
    if announced is not None:
        limit.announced(announced)
    if learned is not None:
        limit.ended(learned)
    assert limit.limit_s == pytest.approx(bound)


def test_a_lesson_is_kept_until_a_connection_outlives_it():
    limit = IdleLimit(60.0)
    limit.ended(4.0)
    assert not limit.outlived(4.0)
    assert not limit.outlived(6.0)  # 1.25 times, and a second for a clock that ticks.
    assert limit.limit_s < 4.0
    assert limit.outlived(6.1)
    assert (limit.learned_s, limit.limit_s) == (None, 60.0)
    assert limit.outlived(0.0)


def test_other_bounds_of_one_s_own():
    limit = IdleLimit(60.0)
    limit.announced(20)
    limit.configure(10.0)
    assert limit.limit_s == 10.0
    limit.configure(60.0)
    assert limit.limit_s == 18.0


@given(st.lists(st.tuples(st.sampled_from(["ended", "announced", "outlived"]), st.floats(0, 4000)), max_size=20))
def test_nobody_can_lengthen_what_is_configured_or_make_it_negative(events):
    limit = IdleLimit(60.0)
    for name, seconds in events:
        getattr(limit, name)(seconds)
        assert 0.0 <= limit.limit_s <= 60.0
