"""Let the share of a target that comes back grow, so that a cold one is not drowned.

Owns:      the ramp, in steps; weights during it.
Elsewhere: when a target came back (rule_health.py); setting the weights (service/health_view.py).
Pure:      times in, weights out.

Weights are whole numbers and may be 1, so while anybody ramps those of the others are multiplied instead.
"""

from __future__ import annotations

from collections.abc import Sequence

STEPS = 10
"""Each makes schedulers plan anew, so there are few."""
RAMPING_SCHEDULERS = frozenset({"wrr", "least_conn", "p2c_ewma"})
"""With the others, which hash, a share that grows would move clients from target to target."""
_CLOCKS_DIFFER_S = 2.0
"""A worker's wall clock and the control process's agree within so much; what is further ahead was set back."""


def step(since_s: float, now_s: float, slow_start_s: float) -> int:
    """Return how many tenths of its weight a target has that takes work since then."""
    elapsed = now_s - since_s
    if since_s <= 0 or not -_CLOCKS_DIFFER_S < elapsed < slow_start_s:
        return STEPS
    return 1 + int(max(elapsed, 0.0) / slow_start_s * STEPS)


def ramped(weights: Sequence[int], steps: Sequence[int]) -> list[int]:
    """Return weights in proportion to the shares; the configured ones if all stand at the same step.

    A step of 0 is that of a target which takes no work and is compared with nobody.
    """
    taking = {step for weight, step in zip(weights, steps, strict=True) if weight and step}
    if len(taking) <= 1:
        return list(weights)
    return [weight * (step or STEPS) for weight, step in zip(weights, steps, strict=True)]
