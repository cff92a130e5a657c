"""Requests under way at once in the whole node, and the queue in front of them.

Owns:      the bound, the queue's order and length, when a place that became free is taken by whom.
Elsewhere: what a request does before and behind it (request_gate.py, exchange.py); the shared numbers (node_share.py).

The count is a number in each worker's column, so a place that becomes free in one worker is seen in another when that
one looks. While requests wait, it looks every few milliseconds. Order is kept over the node as well as that allows:
each worker shows how many wait and since when the first does, nobody overtakes a queue, and a free place is left to
the worker whose first has waited longest. A worker that hangs must not keep places free: what has waited for longer
than it may is not there for others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from clb.config.models import InFlight
from clb.errors import Overloaded
from clb.proxy.node_share import NodeShare

if TYPE_CHECKING:
    from clb.proxy.exchange import Exchange

LOOK_EVERY_S = 0.005
_SLACK_S = 1.0
"""Deadlines are looked at twice a second, so a request may stand in the queue for a little longer than it may."""


class InFlightBound:
    """One bound. It keeps no count but that in the cells, so a changed one goes on where the other stopped.

    What was under way before there was a bound is not counted: it did not ask for a place and gives none back.
    """

    def __init__(
        self, share: NodeShare, loop: asyncio.AbstractEventLoop, config: InFlight, key: str, first_field: int
    ) -> None:
        self._share = share
        self._loop = loop
        self._config = config
        # Three fields in a row: under way, waiting, and since when the first waits (milliseconds of the loop's time).
        self._busy_at = share.place(key, first_field)
        self._queued_at, self._since_at = self._busy_at + 1, self._busy_at + 2
        self._waiting: deque[tuple[Exchange, float]] = deque()
        self._is_due = False

    def enter(self, exchange: Exchange) -> bool:
        """Give the exchange a place: True. False: it waits for one and its `begin` is called again when it has it.

        Raises:
            Overloaded: there is no place, and none in the queue.
        """
        share, config = self._share, self._config
        queued = share.total(self._queued_at)
        if queued <= 0 and share.total(self._busy_at) < config.requests:
            share.own[self._busy_at] += 1
            return True
        if queued >= config.queue:
            raise Overloaded(f"{config.requests} requests under way and {config.queue} waiting")
        self._waiting.append((exchange, self._loop.time()))
        exchange.is_queued = True
        exchange.connection.expect_within(config.wait)
        self._publish()
        self._look_later()
        return False

    def leave(self) -> None:
        """Give a place back."""
        self._share.own[self._busy_at] -= 1
        if self._waiting:
            # Not at once: the exchange that leaves is still ending.
            self._loop.call_soon(self._serve)

    def cancel(self, exchange: Exchange) -> None:
        """Take an exchange out of the queue."""
        exchange.is_queued = False
        for one in self._waiting:
            if one[0] is exchange:
                self._waiting.remove(one)
                break
        self._publish()

    def _look_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._is_due = False
        self._serve()
        if self._waiting:
            self._look_later()

    def _serve(self) -> None:
        """Give free places to those who wait, the first one first."""
        share = self._share
        while self._waiting and share.total(self._busy_at) + self._claimed_by_others() < self._config.requests:
            exchange, _ = self._waiting.popleft()
            share.own[self._busy_at] += 1
            self._publish()
            exchange.is_queued = False
            exchange.begin()

    def _claimed_by_others(self) -> int:
        """Count those in other workers' queues whose first has waited for longer than our own first."""
        since = _milliseconds(self._waiting[0][1])
        hung = _milliseconds(self._loop.time() - self._config.wait - _SLACK_S)
        return sum(column[self._queued_at] for column in self._share.others if hung < column[self._since_at] < since)

    def _publish(self) -> None:
        own, waiting = self._share.own, self._waiting
        own[self._since_at] = _milliseconds(waiting[0][1]) if waiting else 0
        own[self._queued_at] = len(waiting)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
