"""The supervisor's loop: descriptors, timers, nothing else.

Owns:      waiting, and channels as it watches them.
Elsewhere: what happens then (supervisor.py). Workers and the control process have real event loops.

It is no asyncio loop because the supervisor forks for as long as it lives, and a loop does not survive a fork.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clb.service.channel import Channel, ChannelClosed, Message

MESSAGES_AT_A_TIME = 100
"""Of one channel, before the others get their turn."""


class Timer:
    """Something to be done later, unless it is cancelled."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Let it not happen."""
        self._action = None

    def fire(self) -> None:
        """Do it, once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class Reactor:
    """Runs callbacks, one after the other, on one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self.on_fault: Callable[[Exception], None] | None = None
        """What becomes of an exception that a callback lets out; by default it goes on to the caller of `turn`."""
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def watch(self, descriptor: int, readable: Callable[[], object]) -> None:
        """Call it whenever there is something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, (readable, None))

    def watch_both(
        self, descriptor: int, readable: Callable[[], object], writable: Callable[[], object] | None
    ) -> None:
        """Change what is called for a watched descriptor."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writable else 0)
        self._selector.modify(descriptor, events, (readable, writable))

    def forget(self, descriptor: int) -> None:
        """Watch it no more."""
        self._selector.unregister(descriptor)

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something later."""
        timer = Timer(action)
        heapq.heappush(self._timers, (self.now() + seconds, next(self._numbers), timer))
        return timer

    def turn(self, longest_s: float = 60.0) -> None:
        """Wait for something to happen, and let it."""
        wait_s = longest_s
        if self._timers:
            wait_s = min(wait_s, max(0.0, self._timers[0][0] - self.now()))
        for key, events in self._selector.select(wait_s):
            # A callback before this one may have ended the watch.
            if self._selector.get_map().get(key.fd) is not key:
                continue
            readable, writable = key.data
            if events & selectors.EVENT_WRITE and writable is not None:
                self._call(writable)
            elif events & selectors.EVENT_READ:
                self._call(readable)
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            self._call(heapq.heappop(self._timers)[2].fire)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as fault:
            if self.on_fault is None:
                raise
            self.on_fault(fault)

    def close(self) -> None:
        """End all watches."""
        self._selector.close()


class Link:
    """A channel watched by a reactor; calls `received` for each message and `closed` once, at the end."""

    def __init__(
        self,
        channel: Channel,
        reactor: Reactor,
        received: Callable[[Message, list[int]], None],
        closed: Callable[[], None],
    ) -> None:
        self.channel = channel
        self._reactor = reactor
        self._received = received
        self._closed = closed
        self._number = channel.fileno()
        reactor.watch(self._number, self._read)

    @property
    def is_open(self) -> bool:
        """Whether anything can still come or go."""
        return self._number >= 0

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message; to one that is gone it is lost, and `closed` says so."""
        if not self.is_open:
            return
        try:
            self.channel.send(message, fds)
        except ChannelClosed:
            self._reactor.after(0.0, self._give_up)
        else:
            if self.channel.unsent:
                self._reactor.watch_both(self._number, self._read, self._write)

    def read_rest(self) -> None:
        """Take what a process left when it died."""
        while self.is_open and self._read():
            pass

    def close(self) -> None:
        """End it from this side; `closed` is not called."""
        if self.is_open:
            self._reactor.forget(self._number)
            self._number = -1
            self.channel.close()

    def _read(self) -> bool:
        """Take messages; False when none are left."""
        try:
            for _ in range(MESSAGES_AT_A_TIME):
                if not self.is_open or (received := self.channel.receive()) is None:
                    return False
                self._received(*received)
        except ChannelClosed:
            self._end()
            return False
        return True

    def _give_up(self) -> None:
        """The other side reads no more; what it said before that still counts."""
        self.read_rest()
        self._end()

    def _write(self) -> None:
        try:
            self.channel.flush()
        except ChannelClosed:
            self._give_up()
            return
        if not self.channel.unsent:
            self._reactor.watch_both(self._number, self._read, None)

    def _end(self) -> None:
        if self.is_open:
            self.close()
            self._reactor.after(0.0, self._closed)
