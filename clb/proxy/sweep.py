"""The one timer of a worker: deadlines, idle connections, the clock, the access log.

Owns:      how often time is looked at.
Elsewhere: what a passed deadline means (downstream.py, pool.py).

A connection has no timer of its own: setting one attribute is all that a deadline costs a request, and looking at
ten thousand of them twice a second costs a thousandth of a core.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

INTERVAL_S = 0.5

_logger = logging.getLogger(__name__)


class Sweep:
    """Calls its tasks every half second until it is stopped; each gets the loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tasks: tuple[Callable[[float], None], ...]) -> None:
        self._loop = loop
        self._tasks = tasks
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.lag_s = 0.0
        """How late the loop was for the sweep that runs or ran last: it had that much else to do."""

    def start(self) -> None:
        """Begin."""
        self._due = self._loop.time() + INTERVAL_S
        self._handle = self._loop.call_later(INTERVAL_S, self._run)

    def stop(self) -> None:
        """End."""
        if self._handle is not None:
            self._handle.cancel()

    def _run(self) -> None:
        now = self._loop.time()
        self.lag_s = max(0.0, now - self._due)
        for task in self._tasks:
            try:
                task(now)
            except Exception:
                # One connection's defect must not stop the clock of all others.
                _logger.exception("a sweep failed")
        self.start()
