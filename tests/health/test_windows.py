"""The model's formulas, with the figures that its documentation works out."""

from __future__ import annotations

import pytest

from clb.config.rules import HealthCheck
from clb.health.windows import longest_wait_s, time_to_detect_s, time_to_return_s

MODEL = HealthCheck()


def check(**keys: object) -> HealthCheck:
    return HealthCheck.model_validate(keys)


DETECTION = {  # case: (check, what a failed probe takes, seconds)
    "the_model's_example": (MODEL, None, 16.0),
    "refusing_takes_nothing": (MODEL, 0.0, 10.0),
    "slow_errors": (MODEL, 0.5, 11.5),
    "no_probe_is_longer_than_its_timeout": (MODEL, 60.0, 16.0),
    "one_failure_is_enough": (check(unhealthy=1), None, 2.0),
    "fast": (check(interval="100ms", timeout="50ms", unhealthy=2), None, 0.2),
}
RETURN = {  # case: (check, what an answer takes, seconds)
    "the_model's_example": (MODEL, 1.0, 13.0),
    "at_once": (MODEL, 0.0, 10.0),
    "answers_end_with_the_timeout": (MODEL, 60.0, 16.0),
    "one_success_is_enough": (check(healthy=1), 0.0, 0.0),
}


@pytest.mark.parametrize(("settings", "failure_s", "expected"), DETECTION.values(), ids=DETECTION)
def test_time_to_detect(settings: HealthCheck, failure_s: float | None, expected: float) -> None:
    assert time_to_detect_s(settings, failure_s) == pytest.approx(expected)


@pytest.mark.parametrize(("settings", "response_s", "expected"), RETURN.values(), ids=RETURN)
def test_time_to_return(settings: HealthCheck, response_s: float, expected: float) -> None:
    assert time_to_return_s(settings, response_s) == pytest.approx(expected)


def test_the_first_probe_comes_within_an_interval_and_its_jitter() -> None:
    assert longest_wait_s(MODEL) == pytest.approx(5.25)
