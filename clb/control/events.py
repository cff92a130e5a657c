"""What happened on this node lately: a bounded history for status, `clb top` and the events route.

Owns:      the order, the bound and the numbers of events, so that a reader sees what it missed.
Elsewhere: what is an event (supervisor, prober, reload say); the log, which is kept longer (observe/logging.py).
Pure:      the clock is passed in.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

HISTORY = 1000
"""Events that are remembered; older ones are in the log."""
LONGEST_TEXT = 500
MOST_DETAILS = 20


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    number: int
    """Counts up from 1 while this control process lives."""
    at: float
    """Seconds since the epoch."""
    kind: str
    """A word of a closed set: docs/admin.md lists them."""
    cause: str
    """Why, in words for an operator."""
    subject: str = ""
    """What it happened to: a target's key, a process."""
    details: Mapping[str, Any] = field(default_factory=dict)


class EventHistory:
    """The last events, oldest first."""

    def __init__(self, wall: Callable[[], float], size: int = HISTORY) -> None:
        self._wall = wall
        self._events: deque[Event] = deque(maxlen=size)
        self._last = 0
        self.on_event: Callable[[Event], None] = lambda _: None
        """Called with each event once it is remembered."""

    @property
    def last_number(self) -> int:
        """Of the newest event; 0 if there was none."""
        return self._last

    def add(self, kind: str, cause: str, subject: str = "", *, at: float | None = None, **details: Any) -> Event:
        """Remember something that happened, now unless told otherwise."""
        self._last += 1
        event = Event(
            self._last,
            self._wall() if at is None else at,
            kind,
            _short(cause),
            _short(subject),
            {str(name): _plain(value) for name, value in list(details.items())[:MOST_DETAILS]},
        )
        self._events.append(event)
        self.on_event(event)
        return event

    def add_message(self, message: Mapping[str, Any]) -> Event:
        """Remember an event as another process told of it: `kind`, `cause`, `subject`, `at` and whatever else."""
        known = {"kind", "cause", "subject", "at", "type"}
        details = {name: value for name, value in message.items() if name not in known}
        at = message.get("at")
        return self.add(
            str(message.get("kind", "unknown")),
            str(message.get("cause", "")),
            str(message.get("subject", "")),
            at=float(at) if isinstance(at, int | float) else None,
            **details,
        )

    def after(self, number: int, limit: int) -> list[Event]:
        """Events newer than `number`: of too many the newest, oldest first."""
        newer = [event for event in self._events if event.number > number]
        return newer[-limit:]


def utc(at: float) -> datetime:
    """An epoch time as responses show it."""
    return datetime.fromtimestamp(at, UTC)


def _short(text: str) -> str:
    shown = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
    return "".join(char if char.isprintable() else " " for char in shown)


def _plain(value: Any) -> Any:
    """What JSON can hold; anything large or odd becomes short text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple) and len(value) <= MOST_DETAILS and all(isinstance(item, str) for item in value):
        return [_short(item) for item in value]
    return _short(value if isinstance(value, str) else json.dumps(value, default=str))
