"""How long it takes until a target that fails is out, and until one that is well again is back.

Owns:      the model's two formulas (its section 4).
Elsewhere: making them true (service/prober.py: the interval runs from the end of one probe to the start of the next).
Pure:      settings in, seconds out.

Both count from the first probe that sees the change, which comes within one interval (and its jitter) of it.
"""

from __future__ import annotations

from clb.config.rules import HealthCheck

JITTER_RATIO = 0.05
"""Waits differ by up to so much of the interval either way, so that probes of many targets do not fall into step."""


def time_to_detect_s(check: HealthCheck, failure_s: float | None = None) -> float:
    """Return how long a failing target goes on to be trusted; `failure_s` is what one failed probe takes.

    By default the time-out, which is the most and what a server that hangs takes; one that refuses takes nothing.
    """
    failure_s = check.timeout if failure_s is None else min(failure_s, check.timeout)
    return failure_s * check.unhealthy + check.interval * (check.unhealthy - 1)


def time_to_return_s(check: HealthCheck, response_s: float = 0.0) -> float:
    """Return how long a target that is well again stays out, when each answer takes `response_s`."""
    return min(response_s, check.timeout) * check.healthy + check.interval * (check.healthy - 1)


def longest_wait_s(check: HealthCheck) -> float:
    """Return the time from a change to the first probe that can see it, at most: one interval and its jitter."""
    return check.interval * (1 + JITTER_RATIO)
