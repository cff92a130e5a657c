"""Where a certificate stands in its life, and when somebody has to be told.

Owns:      the states, the days of notice, and that each day is told once.
Elsewhere: telling (control/notices.py); what was told already (the store for certificates of the API, a file for those
           of the configuration file).
Pure:      dates in, words out; the clock is passed in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

NOTICE_DAYS: Final = (30, 14, 7, 3, 1, 0)
"""So long before the end somebody is told; 0: it has ended."""
_EXPIRING = timedelta(days=NOTICE_DAYS[0])


class State(StrEnum):
    """What is shown of a certificate; it is served in each of them that it is bound in."""

    PENDING = "pending"
    """Not valid yet."""
    ACTIVE = "active"
    EXPIRING = "expiring"
    """Valid for 30 days or less."""
    EXPIRED = "expired"
    """Still served: a warning in a browser helps more than a closed door."""
    REPLACED = "replaced"
    """The generation before the present one; a rollback takes it into service again."""


def state(not_before: datetime, not_after: datetime, now: datetime) -> State:
    """The state of a present generation."""
    if now > not_after:
        return State.EXPIRED
    if now < not_before:
        return State.PENDING
    return State.EXPIRING if not_after - now <= _EXPIRING else State.ACTIVE


def days_left(not_after: datetime, now: datetime) -> int:
    """Whole days until the end; negative after it."""
    return (not_after - now) // timedelta(days=1)


def due_notice(not_after: datetime, now: datetime, told: int | None) -> int | None:
    """The day of notice that is to be told now, if there is one; `told` is the last one that was.

    After a long silence one notice stands for all that were missed: the newest.
    """
    left = not_after - now
    reached = [days for days in NOTICE_DAYS if (left < timedelta(0) if days == 0 else left <= timedelta(days=days))]
    if not reached or (told is not None and told <= reached[-1]):
        return None
    return reached[-1]
