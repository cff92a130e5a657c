"""The states of a target, and what may be told of a change from one to another.

Owns:      the words; which of them mean that a target takes work.
Elsewhere: who moves a target (rule_health.py); the same numbers as other processes read them (metering/cells.py).
Pure:      constants and records.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class State(IntEnum):
    """The numbers are those of `metering.cells.TargetState`."""

    UNCHECKED = 0
    """No check is configured: takes work."""
    CHECKING = 1
    """New beside targets that are known to be good: takes none until it has proved itself."""
    HEALTHY = 2
    UNHEALTHY = 3
    EJECTED = 4
    """Its answers to real requests were failures."""
    PROVISIONAL = 5
    """Not proved, but its rule has no better: takes work until a check fails."""

    @property
    def takes_work(self) -> bool:
        """Whether a target in this state is offered work."""
        return self in _TAKE_WORK


_TAKE_WORK = frozenset({State.UNCHECKED, State.HEALTHY, State.PROVISIONAL})


@dataclass(frozen=True, slots=True)
class Change:
    """One target went from one state to another."""

    identity: str
    before: State | None
    """None: it is new."""
    after: State
    cause: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an earlier process knew of a target. Times are on the clock of whoever reads it."""

    state: State
    since: float
    """When it began to take work, or else to take none."""
    ejected_until: float | None = None
    """When the last ejection ends or ended; None: there was none."""
    ejections: int = 0
    why: str = ""
