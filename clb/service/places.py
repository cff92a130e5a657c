"""How many checks may be under way at once, so that real servers that hang do not hold up those that answer.

Owns:      the bound, and who comes next.
Elsewhere: what is done in a place (prober.py).

Whoever hung last time is slow, and the slow get three quarters of the places at most: were all of a thousand real
servers but one to fall silent, the checks of that one would still be made when they are due.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_SLOW_SHARE = 0.75


class Places:
    """Like a semaphore whose size may change, with a second bound for the slow."""

    def __init__(self, size: int) -> None:
        self.size = size
        """May be set at any time; whoever is in stays in."""
        self._taken = 0
        self._taken_by_slow = 0
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {False: deque(), True: deque()}

    @asynccontextmanager
    async def place(self, *, is_slow: bool) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        await self._enter(is_slow)
        try:
            yield
        finally:
            self._leave(is_slow)

    async def _enter(self, is_slow: bool) -> None:
        if not self._waiting[is_slow] and self._is_free(is_slow):
            self._take(is_slow)
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[is_slow].append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave(is_slow)  # It had been given the place just before.
            raise

    def _is_free(self, is_slow: bool) -> bool:
        return self._taken < self.size and not (is_slow and self._taken_by_slow >= self.size * _SLOW_SHARE)

    def _take(self, is_slow: bool) -> None:
        self._taken += 1
        self._taken_by_slow += is_slow

    def _leave(self, is_slow: bool) -> None:
        self._taken -= 1
        self._taken_by_slow -= is_slow
        for kind in (False, True):
            waiting = self._waiting[kind]
            while waiting and (waiting[0].done() or self._is_free(kind)):
                future = waiting.popleft()
                if not future.done():  # Else whoever waited was cancelled.
                    self._take(kind)
                    future.set_result(None)
