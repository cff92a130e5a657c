"""When a worker counts as saturated: not after one late sweep, and not until it is clearly calm again."""

from __future__ import annotations

import pytest

from clb.proxy.saturation import Saturation

COURSES = {  # case: (lateness of each sweep, verdict after each)
    "calm": ([0.0, 0.05, 0.09], [False, False, False]),
    "late_once": ([0.5, 0.0, 0.5, 0.0], [False] * 4),
    "late_twice": ([0.1, 0.1], [False, True]),
    "in_between_changes_nothing": ([0.2, 0.2, 0.06, 0.06, 0.06], [False, True, True, True, True]),
    "calm_once": ([0.2, 0.2, 0.01, 0.2, 0.01], [False, True, True, True, True]),
    "calm_twice": ([0.2, 0.2, 0.01, 0.01], [False, True, True, False]),
}


@pytest.mark.parametrize(("lags", "verdicts"), COURSES.values(), ids=COURSES)
def test_courses(lags: list[float], verdicts: list[bool]) -> None:
    saturation = Saturation(0.1)
    found, changes = [], 0
    for lag in lags:
        changes += saturation.look(lag)
        found.append(saturation.is_saturated)
    assert found == verdicts
    assert changes == sum(before != after for before, after in zip([False, *verdicts], verdicts, strict=False))


def test_it_is_switched_off_while_it_is_on() -> None:
    saturation = Saturation(0.1)
    for _ in range(2):
        saturation.look(1.0)
    saturation.threshold_s = 0.0
    for _ in range(2):
        saturation.look(1.0)
    assert not saturation.is_saturated
    for _ in range(5):
        saturation.look(1.0)
    assert not saturation.is_saturated
