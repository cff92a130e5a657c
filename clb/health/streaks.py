"""Failures in a row of real requests, as one worker sees them.

Owns:      the counts of one rule's targets; when they are reason enough to propose an ejection.
Elsewhere: what is a failure (proxy/observation.py); the decision, which is the node's (rule_health.py).
Pure:      time is passed in, proposals go to a callable.

A count goes on until the target answers well, through an ejection and after it: a target that is back and fails
at once is proposed at once. Proposals are repeated at most once a second, however many requests fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from clb.config.rules import Passive

PROPOSAL_INTERVAL_S = 1.0
SUSPECTED = "suspected"
"""Kind of the event by which a worker proposes to eject a target."""
_FIRST_SERVER_ERROR = 500


class Failure(Enum):
    """Kinds of failures; each has a threshold of its own, named like it in the configuration."""

    CONNECT = "connect_failures"
    TIMEOUT = "timeouts"
    SERVER_ERROR = "server_errors"


Propose = Callable[[str, Failure, int, str], None]
"""Takes the target's identity, what it did, how often in a row, and the last of it in words."""


@dataclass(slots=True)
class _Streak:
    counts: dict[Failure, int] = field(default_factory=lambda: dict.fromkeys(Failure, 0))
    proposed_at: float = float("-inf")


class Streaks:
    """Of the targets of one rule; most have none, which costs nothing."""

    __slots__ = ("_passive", "_propose", "_streaks")

    def __init__(self, passive: Passive, propose: Propose) -> None:
        self._passive = passive
        self._propose = propose
        self._streaks: dict[str, _Streak] = {}

    def update(self, passive: Passive, identities: Iterable[str]) -> None:
        """Go by other thresholds, and forget targets that are gone."""
        self._passive = passive
        kept = frozenset(identities)
        self._streaks = {identity: streak for identity, streak in self._streaks.items() if identity in kept}

    def failed(self, identity: str, failure: Failure, detail: str, now: float) -> None:
        """Count a failure, and propose an ejection if that is enough."""
        streak = self._streaks.get(identity)
        if streak is None:
            streak = self._streaks[identity] = _Streak()
        if failure is Failure.SERVER_ERROR:
            # Whoever answers is there; only whether its answers are any good remains to be seen.
            streak.counts[Failure.CONNECT] = streak.counts[Failure.TIMEOUT] = 0
        streak.counts[failure] += 1
        count, threshold = streak.counts[failure], getattr(self._passive, failure.value)
        if threshold and count >= threshold and now - streak.proposed_at >= PROPOSAL_INTERVAL_S:
            streak.proposed_at = now
            self._propose(identity, failure, count, detail)

    def answered(self, identity: str, status: int, now: float) -> bool:
        """Take an answer; tell whether the target's good answers are still of interest."""
        if status >= _FIRST_SERVER_ERROR:
            self.failed(identity, Failure.SERVER_ERROR, f"answered {status}", now)
            return True
        self._streaks.pop(identity, None)
        return False
