"""Clients of every kind that ask steadily and write down what they got: steady_clients.py ORDERS (JSON).

Prints a line when every client has been served once. Then each line on standard input is answered with one that has the
time and the counts so far; at the end of the input all clients finish what they do and the whole record is printed.
Times are those of the monotonic clock, which all processes of a machine share.

A client that keeps its connection alive opens another one when it was told to (`Connection: close`) or sees that the
connection has ended while it was not asking. Nobody asks twice for the same thing: what fails is written down.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import ssl
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import uvloop
from http_stream import Failed, HttpStream, open_stream, request
from origin_server import body_of

body_of = lru_cache(maxsize=64)(body_of)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
TUNNEL_PAUSE_S = 0.2
UPLOAD = b"u" * 20_000


@dataclass
class Group:
    """Some clients of one listener and host; the fields are those of ORDERS."""

    name: str
    port: int
    host: str
    tls: bool = True
    keep_alive: int = 0
    new: int = 0
    """Clients that make a connection for each request, half of them with the session of the one before."""
    tunnels: int = 0
    pause_s: float = 0.02
    """Mean time between two requests of a client."""
    spread: float = 1.0
    """By what share of the mean the pauses differ, either way."""
    new_pause_s: float = 0.1
    asks: list[str] = field(default_factory=lambda: ["small", "large", "chunked", "upload"])
    path: str = ""
    """Asked for with `asks: [path]`; must be answered with two bytes of the pattern."""
    fields: str = ""


class Record:
    """What happened."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str, float, float, str]] = []
        """Group, client, begin, duration, origin."""
        self.failures: list[dict[str, Any]] = []
        self.handshakes: list[tuple[float, str, bool, bool]] = []
        """When, version, whether a session was offered, whether it was resumed."""
        self.orderly_ends = 0
        """Connections that the other side closed while they were idle."""
        self.served: set[object] = set()
        """Clients that have had an answer."""

    def counts(self) -> dict[str, Any]:
        return {"at": time.monotonic(), "answers": len(self.answers), "failures": len(self.failures)}

    def failed(self, group: Group, client: str, began: float, error: Failed, stream: HttpStream | None) -> None:
        self.failures.append(
            {
                "at": time.monotonic(),
                "began": began,
                "group": group.name,
                "client": client,
                "kind": error.kind,
                "detail": error.detail,
                "port": stream.port if stream is not None else error.port,
                "request": stream.requests if stream is not None else 0,
            }
        )


class Clients:
    """All of them."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.record = Record()
        self.stopping = asyncio.Event()
        self._timeout_s: float = orders["timeout_s"]
        self._contexts = {}
        for name, version in VERSIONS.items():
            self._contexts[name] = context = ssl.create_default_context(cafile=orders["authority"])
            context.minimum_version = context.maximum_version = version
        self.tasks: list[asyncio.Task[None]] = []
        for each in orders["groups"]:
            self._start(Group(**each))

    def _start(self, group: Group) -> None:
        versions = list(VERSIONS) if group.tls else [""]
        for number in range(group.keep_alive):
            self._run(self._keep_alive(group, versions[number % len(versions)]))
        for number in range(group.new):
            self._run(self._new(group, versions[number % len(versions)], resumes=number // 2 % 2 == 1))
        for number in range(group.tunnels):
            self._run(self._tunnel(group, versions[number % len(versions)]))

    def _run(self, client: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(client))

    # --- kinds of clients ---

    async def _keep_alive(self, group: Group, version: str) -> None:
        stream = None
        try:
            while not self.stopping.is_set():
                if stream is None:
                    stream = await self._open(group, "keep-alive", version, None)
                elif stream.end is not None:
                    self._ended_while_idle(group, stream)
                    stream = None
                    continue
                if stream is not None:
                    stream = await self._ask(group, "keep-alive", stream)
                await self._pause(group.pause_s, group.spread)
            if stream is not None:
                stream.close()
        finally:
            if stream is not None:
                stream.transport.abort()

    def _ended_while_idle(self, group: Group, stream: HttpStream) -> None:
        assert stream.end is not None
        if stream.end.kind == "ended":
            self.record.orderly_ends += 1
        else:
            self.record.failed(group, "keep-alive", time.monotonic(), stream.end, stream)

    async def _new(self, group: Group, version: str, *, resumes: bool) -> None:
        session = None
        client = "resumed" if resumes else "new"
        while not self.stopping.is_set():
            stream = await self._open(group, client, version, session)
            if stream is not None:
                stream = await self._ask(group, client, stream)
            if stream is not None:
                if resumes and stream.tls is not None:
                    session = stream.tls.session
                stream.close()
            await self._pause(group.new_pause_s)

    async def _tunnel(self, group: Group, version: str) -> None:
        stream = await self._open(group, "tunnel", version, None)
        if stream is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await stream.ask(request("/tunnel", group.host, fields=UPGRADE + group.fields))
            if answer.status != 101:
                raise Failed("status", answer.status)
            while not self.stopping.is_set():
                message = random.randbytes(200)
                began = time.monotonic()
                stream.send(message)
                async with asyncio.timeout(self._timeout_s):
                    if await stream.read(len(message)) != message:
                        raise Failed("body", "another message came back")
                self._answered(group, "tunnel", began, "")
                await self._pause(TUNNEL_PAUSE_S)
            stream.close()
        except TimeoutError:
            self.record.failed(group, "tunnel", began, Failed("timeout"), stream)
            stream.abort()
        except Failed as error:
            self.record.failed(group, "tunnel", time.monotonic(), error, stream)
            stream.transport.abort()

    # --- what they have in common ---

    async def _open(self, group: Group, client: str, version: str, session: ssl.SSLSession | None) -> HttpStream | None:
        tls = (self._contexts[version], group.host, session) if version else None
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                stream = await open_stream(group.port, tls)
        except TimeoutError:
            self.record.failed(group, client, began, Failed("timeout", "connecting"), None)
            return None
        except Failed as error:
            self.record.failed(group, client, began, error, None)
            return None
        if version:
            self.record.handshakes.append((began, version, session is not None, stream.resumed))
        return stream

    async def _ask(self, group: Group, client: str, stream: HttpStream) -> HttpStream | None:
        """Ask once; the stream, if it can be used again."""
        what = random.choice(group.asks)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await stream.ask(self._request(group, what))
            if answer.status != 200:
                raise Failed("status", answer.status)
            origin = answer.fields.get(b"x-origin", b"").decode()
            if answer.body != expected_body(what, origin):
                raise Failed("body", f"{what} of {origin}: {len(answer.body)} bytes")
        except TimeoutError:
            self.record.failed(group, client, began, Failed("timeout", what), stream)
            stream.abort()
            return None
        except Failed as error:
            self.record.failed(group, client, began, error, stream)
            stream.transport.abort()
            return None
        self._answered(group, client, began, origin)
        if stream.is_last:
            stream.close()
            return None
        return stream

    def _request(self, group: Group, what: str) -> bytes:
        if what == "upload":
            return request("/echo-size", group.host, "POST", group.fields, UPLOAD)
        path = {"small": "/bytes/34", "large": "/bytes/100000", "chunked": "/chunked/20000", "path": group.path}[what]
        return request(path, group.host, fields=group.fields)

    def _answered(self, group: Group, client: str, began: float, origin: str) -> None:
        self.record.answers.append((group.name, client, began, time.monotonic() - began, origin))
        self.record.served.add(asyncio.current_task())

    async def _pause(self, mean_s: float, spread: float = 1.0) -> None:
        try:
            async with asyncio.timeout(mean_s * random.uniform(1 - spread, 1 + spread)):
                await self.stopping.wait()
        except TimeoutError:
            pass


def expected_body(what: str, origin: str) -> bytes:
    """What an origin answers to one of the questions."""
    if what == "upload":
        return str(len(UPLOAD)).encode()
    return body_of(origin, {"small": 34, "large": 100_000, "chunked": 20_000, "path": 2}[what])


async def _main(orders: dict[str, Any]) -> None:
    clients = Clients(orders)
    while len(clients.record.served) < len(clients.tasks):
        for task in clients.tasks:
            if task.done():
                break
        else:
            await asyncio.sleep(0.01)
            continue
        break  # One has failed already: what it says is in the record.
    print(json.dumps(clients.record.counts()), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps(clients.record.counts()), flush=True)
    clients.stopping.set()
    await asyncio.gather(*clients.tasks)
    record = clients.record
    print(
        json.dumps(
            {
                "answers": record.answers,
                "failures": record.failures,
                "handshakes": record.handshakes,
                "orderly_ends": record.orderly_ends,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(json.loads(sys.argv[1])))
