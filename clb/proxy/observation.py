"""What real requests tell of a rule's targets.

Owns:      which failures count, and for which target a good answer is of interest.
Elsewhere: counting in a row, and when that is enough (health/streaks.py); the decision (health/rule_health.py).

A target that has not failed costs a request one look at a flag.
"""

from __future__ import annotations

from clb.balancing.candidate import Candidate
from clb.errors import ClbError, UpstreamClosed, UpstreamTimeout
from clb.health.streaks import Failure, Streaks
from clb.proxy.pool import TargetPool


def failure_of(error: ClbError, *, is_answered: bool = False) -> Failure | None:
    """What kind of failure an attempt's error is.

    None for an answer that broke off when it had begun: the real server was there and at work.
    """
    if isinstance(error, UpstreamTimeout):
        return Failure.TIMEOUT
    return None if is_answered and isinstance(error, UpstreamClosed) else Failure.CONNECT


class Observation:
    """Of one rule."""

    def __init__(self, streaks: Streaks) -> None:
        self.streaks = streaks

    def failed(self, target: Candidate[TargetPool], failure: Failure, detail: str, now: float) -> None:
        """An attempt at the target failed."""
        target.is_suspect = True
        self.streaks.failed(target.identity, failure, detail, now)

    def answered(self, target: Candidate[TargetPool], status: int, now: float) -> None:
        """A target that is suspected has answered."""
        target.is_suspect = self.streaks.answered(target.identity, status, now)
