"""The worker's clock: the loop's time, and the wall time derived from it.

Owns:      the offset between the two, and the text of X-Stgw-Time and Date for the current instant.
Elsewhere: deadlines (sweep.py), which are in loop time.

The loop's clock is read once per turn by the loop itself, so asking it costs no system call; its millisecond is all
that a log line or a deadline needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from clb.proxy.replies import http_date


class Clock:
    """Loop time in seconds, and its wall-clock spellings, each made once per instant."""

    def __init__(self, loop_time: Callable[[], float], wall_time: Callable[[], float] = time.time) -> None:
        self.now = loop_time
        self._wall_time = wall_time
        self._offset = 0.0
        self._stamp_at = self._date_at = -1.0
        self._stamp = self._date = b""
        self.synchronise()

    def synchronise(self) -> None:
        """Follow a wall clock that was set; called once a second."""
        self._offset = self._wall_time() - self.now()

    def wall(self, loop_time: float) -> float:
        """Return seconds since the epoch for an instant in loop time."""
        return loop_time + self._offset

    def stamp(self, loop_time: float) -> bytes:
        """Return X-Stgw-Time: seconds since the epoch with milliseconds."""
        if loop_time != self._stamp_at:
            self._stamp_at = loop_time
            self._stamp = b"%.3f" % (loop_time + self._offset)
        return self._stamp

    def date(self, loop_time: float) -> bytes:
        """Return the value of Date (RFC 9110 section 6.6.1)."""
        second = float(int(loop_time + self._offset))
        if second != self._date_at:
            self._date_at = second
            self._date = http_date(second)
        return self._date
