"""Lengths grow and are bounded, counts decay, shares are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.config.rules import Passive
from clb.health.ejection import ejection_s, ejections_left, most_ejected

PASSIVE = Passive()


@pytest.mark.parametrize(
    ("count", "seconds"), [(1, 30), (2, 60), (3, 120), (4, 240), (5, 300), (6, 300), (10_000, 300)]
)
def test_each_ejection_is_twice_as_long_up_to_the_maximum(count: int, seconds: float) -> None:
    assert ejection_s(PASSIVE, count) == seconds


LEFT = {  # case: (count, ended at, now, left)
    "still_out": (3, 100.0, 50.0, 3),
    "just_back": (3, 100.0, 100.0, 3),
    "not_long_enough": (3, 100.0, 399.0, 3),
    "one_taken_off": (3, 100.0, 400.0, 2),
    "two_taken_off": (3, 100.0, 701.0, 1),
    "never_below_0": (3, 100.0, 99_999.0, 0),
}


@pytest.mark.parametrize(("count", "ended_at", "now", "left"), LEFT.values(), ids=LEFT)
def test_good_service_takes_ejections_off(count: int, ended_at: float, now: float, left: int) -> None:
    assert ejections_left(count, ended_at, now, PASSIVE) == left


MOST = {  # case: (targets, share, most)
    "none": (0, 0.5, 0),
    "the_only_one_never": (1, 1.0, 0),
    "one_of_two": (2, 0.5, 1),
    "rounded_down": (3, 0.5, 1),
    "a_small_share_of_few_is_nobody": (5, 0.1, 0),
    "all_but_one": (5, 1.0, 4),
    "off": (100, 0.0, 0),
    "as_written_not_as_floats_have_it": (100, 0.29, 29),
}


@pytest.mark.parametrize(("targets", "share", "most"), MOST.values(), ids=MOST)
def test_the_share(targets: int, share: float, most: int) -> None:
    assert most_ejected(targets, share) == most


@given(targets=st.integers(0, 10_000), share=st.floats(0, 1))
def test_the_share_is_never_exceeded_and_one_always_stays(targets: int, share: float) -> None:
    most = most_ejected(targets, share)
    assert 0 <= most <= max(0, targets - 1)
    assert most <= share * targets + 1e-6
