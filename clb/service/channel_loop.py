"""A channel as a process with an event loop uses it.

Owns:      reading when there is something, writing on when there is room.
Elsewhere: the channel itself (channel.py), which the supervisor watches by a selector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clb.service.channel import Channel, ChannelClosed, Message

MESSAGES_AT_A_TIME = 50
"""Then the loop gets its turn, whatever the other side sends."""


class LoopChannel:
    """Calls `received` for each message and `closed` once, when the other side is gone."""

    def __init__(
        self,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[Message, list[int]], None],
        closed: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._loop = loop
        self._received = received
        self._closed = closed
        self._is_open = True
        # The number itself: uvloop wants one, and a closed channel has it no more.
        self._number = channel.fileno()
        loop.add_reader(self._number, self._read)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message; once the other side is gone, nothing happens (`closed` was or will be called)."""
        if not self._is_open:
            return
        try:
            self._channel.send(message, fds)
        except ChannelClosed:
            self._end()
        else:
            if self._channel.unsent:
                self._loop.add_writer(self._number, self._write)

    def close(self) -> None:
        """End it from this side; `closed` is not called."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._number)
            self._loop.remove_writer(self._number)
            self._channel.close()

    def _read(self) -> None:
        try:
            for _ in range(MESSAGES_AT_A_TIME):
                if not self._is_open or (received := self._channel.receive()) is None:
                    return
                self._received(*received)
        except ChannelClosed:
            self._end()

    def _write(self) -> None:
        try:
            self._channel.flush()
        except ChannelClosed:
            self._end()
            return
        if not self._channel.unsent:
            self._loop.remove_writer(self._number)

    def _end(self) -> None:
        if self._is_open:
            self.close()
            self._loop.call_soon(self._closed)
