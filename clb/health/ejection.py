"""How long a target is ejected, how often that counts, and how many may be at once.

Owns:      the arithmetic of ejections.
Elsewhere: carrying them out (rule_health.py); who proposes them (streaks.py).
Pure:      numbers in, numbers out; time is passed in.
"""

from __future__ import annotations

from clb.config.rules import Passive

_MOST_DOUBLINGS = 40
"""2**40 times 100 ms is beyond any maximum; more would only make large numbers."""


def ejection_s(passive: Passive, count: int) -> float:
    """Return the length of the `count`th ejection: each takes twice as long as the one before, up to the maximum."""
    return min(passive.ejection_maximum, passive.ejection * 2.0 ** min(count - 1, _MOST_DOUBLINGS))


def ejections_left(count: int, ended_at: float, now: float, passive: Passive) -> int:
    """Return how many ejections still count: every `ejection_maximum` of service since the last takes one off."""
    if now <= ended_at:
        return count
    return max(0, count - int((now - ended_at) / passive.ejection_maximum))


def most_ejected(targets: int, share: float) -> int:
    """Return how many of so many targets may be ejected at once: a share, rounded down, and never all."""
    # 0.29 * 100 is 28.999999999999996: what is written as 29 % of a hundred means 29.
    return max(0, min(int(share * targets + 1e-9), targets - 1))
