"""The ramp, and the weights during it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.health.slow_start import STEPS, ramped, step

RAMP = {  # case: (seconds since it came, slow start, step)
    "at_once": (0.0, 10.0, 1),
    "a_tenth": (1.0, 10.0, 2),
    "half": (5.0, 10.0, 6),
    "nearly": (9.99, 10.0, 10),
    "over": (10.0, 10.0, STEPS),
    "long_over": (1e6, 10.0, STEPS),
    "off": (0.0, 0.0, STEPS),
    "clocks_that_differ_a_little": (-1.5, 10.0, 1),
    "a_clock_that_was_set_back": (-3.0, 10.0, STEPS),
}


@pytest.mark.parametrize(("elapsed", "slow_start_s", "expected"), RAMP.values(), ids=RAMP)
def test_the_ramp(elapsed: float, slow_start_s: float, expected: int) -> None:
    assert step(1e6, 1e6 + elapsed, slow_start_s) == expected


def test_who_was_there_from_the_start_does_not_ramp() -> None:
    assert step(0.0, 5.0, 10.0) == STEPS


WEIGHTS = {  # case: (configured, steps, effective)
    "nobody_ramps": ([1, 2, 3], [10, 10, 10], [1, 2, 3]),
    "one_of_three": ([1, 1, 1], [10, 10, 1], [10, 10, 1]),
    "by_weight": ([5, 10], [10, 3], [50, 30]),
    "all_at_the_same_step": ([1, 2], [4, 4], [1, 2]),
    "alone": ([7], [1], [7]),
    "who_takes_no_work_is_not_compared": ([5, 10], [0, 3], [5, 10]),
    "who_takes_no_work_keeps_its_proportion": ([5, 10, 1], [0, 3, 10], [50, 30, 10]),
    "weight_0_stays": ([0, 1, 1], [2, 10, 5], [0, 10, 5]),
    "nobody": ([], [], []),
}


@pytest.mark.parametrize(("configured", "steps", "effective"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights(configured: list[int], steps: list[int], effective: list[int]) -> None:
    assert ramped(configured, steps) == effective


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0.1, 3600))
def test_the_ramp_only_climbs(one: float, other: float, slow_start_s: float) -> None:
    early, late = sorted((one, other))
    assert 1 <= step(1e6, 1e6 + early, slow_start_s) <= step(1e6, 1e6 + late, slow_start_s) <= STEPS
