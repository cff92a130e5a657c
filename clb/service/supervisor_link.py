"""The control process' end of its channel to the supervisor: requests that are waited for, and what comes unasked.

Owns:      the numbers of requests, and giving up on a reply.
Elsewhere: the channel (channel.py, channel_loop.py); what is asked (control/routes.py); the other end (supervisor.py).
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from clb.control.node import SupervisorSilent
from clb.service.channel import Channel, Message
from clb.service.channel_loop import LoopChannel

REPLY_S: Final = {"processes": 2.0, "plan": 120.0, "reload": 170.0, "assign": 100.0, "apply": 170.0}
"""A reload waits for the loader and for every worker twice; less than an answer may take (admin_server.py). A write
waits for a reload that is under way, and then for every worker twice and for its commit."""
MOST_WAITING: Final = 64

Handler = Callable[[Message, Sequence[int]], None]


class SupervisorLink:
    """`ask` and `send`; `received` is called for every message that is no reply, `closed` when the supervisor ended."""

    def __init__(
        self, channel: Channel, loop: asyncio.AbstractEventLoop, received: Handler, closed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._received = received
        self._closed = closed
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._deciders: dict[int, Callable[[], Awaitable[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel = LoopChannel(channel, loop, self._take, self._end)

    async def ask(self, what: str) -> Mapping[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            SupervisorSilent: there is none in time.
        """
        return await self.request(what, {})

    async def request(
        self,
        what: str,
        details: Mapping[str, Any],
        files: Sequence[int] = (),
        decide: Callable[[], Awaitable[None]] | None = None,
    ) -> Mapping[str, Any]:
        """The same with details and files, which stay the caller's; the supervisor may ask for `decide` to be awaited.

        What `decide` raises is told as the reason why not, and is for its caller to remember.

        Raises:
            SupervisorSilent: there is no reply in time. `decide` is not called any more.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise SupervisorSilent(f"{MOST_WAITING} requests wait for it already")
        number = next(self._numbers)
        if decide is not None:
            self._deciders[number] = decide
        reply: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[number] = reply
        seconds = REPLY_S.get(what, 10.0)
        try:
            self._channel.send({**details, "type": "request", "id": number, "what": what}, files)
            async with asyncio.timeout(seconds):
                return await reply
        except TimeoutError:
            raise SupervisorSilent(f"no reply within {seconds:g} s") from None
        finally:
            del self._waiting[number]
            self._deciders.pop(number, None)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send what wants no reply."""
        self._channel.send(message)

    def close(self) -> None:
        """End it from this side."""
        self._channel.close()
        self._fail("the process ends")

    def _take(self, message: Message, files: list[int]) -> None:
        try:
            if message["type"] == "decide":
                task = self._loop.create_task(self._decide(message.get("id", 0)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif message["type"] != "reply":
                self._received(message, files)
            elif (reply := self._waiting.get(message.get("id", 0))) is not None and not reply.done():
                reply.set_result(message)
        finally:
            for descriptor in files:
                os.close(descriptor)

    async def _decide(self, number: int) -> None:
        decide = self._deciders.pop(number, None)
        error: str | None = None
        if decide is None:
            error = "nobody waits for it any more"
        else:
            try:
                await decide()
            except Exception as fault:
                error = type(fault).__name__
        self._channel.send({"type": "decided", "id": number, "error": error})

    def _end(self) -> None:
        self._fail("the channel is closed")
        self._closed()

    def _fail(self, why: str) -> None:
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(SupervisorSilent(why))
