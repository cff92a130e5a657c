"""A real server as a process of its own: origin_server.py NAME ADDRESS PORT (0 = the system chooses).

Prints its port as a JSON line. Then each line on standard input is an order, answered with one line; the end of the
input is the end. Every answer names the server (`X-Origin`), so that clients can tell who served them.

    GET /bytes/N, /chunked/N    N bytes of a pattern that begins with the name
    GET /wait/MS                answers after so long
    POST /echo-size             the size of the body, in digits
    GET /tunnel                 an upgrade; then it sends back what it gets

    {"behave": MODE, "delay_s": S}  ok | slow | serial (one request at a time takes S) | reset | garbage | hang |
                                    close | error (500); of all connections from the next request on
    {"refuse": true}            close the listening socket and every connection; false: listen again, on the same port
    {"idle_s": S}               close connections that are idle for so long; null: never
    {"counts": true}            only tell what was counted, which every answer does
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
from collections import Counter
from typing import Any

import uvloop

PATTERN = bytes(range(32, 127))
PROBE = b"clb-healthcheck"
BLOCK_BYTES = 65536


def body_of(name: str, size: int) -> bytes:
    """What this server answers for so many bytes."""
    pattern = name.encode() + b":" + PATTERN
    return (pattern * (size // len(pattern) + 1))[:size]


class Origin:
    """What all connections share."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.mode = "ok"
        self.delay_s = 0.0
        self.idle_s: float | None = None
        self.counts: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.busy_until = 0.0
        self._at = address, port
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(self._at)
        self._at = sock.getsockname()
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=sock, backlog=4096)
        return self._at[1]

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if "behave" in order:
            self.mode, self.delay_s = order["behave"], order.get("delay_s", 0.0)
        if "idle_s" in order:
            self.idle_s = order["idle_s"]
        if order.get("refuse") is True and self._server is not None:
            self._server.close()
            self._server = None
            for connection in tuple(self.connections):
                connection.reset()
        elif order.get("refuse") is False and self._server is None:
            await self.listen()
        return {**self.counts, "open": len(self.connections)}

    def delay(self) -> float:
        """How long the request that came now has to wait for its answer."""
        if self.mode == "slow":
            return self.delay_s
        if self.mode == "serial":
            now = asyncio.get_running_loop().time()
            self.busy_until = max(self.busy_until, now) + self.delay_s
            return self.busy_until - now
        return 0.0


class Connection(asyncio.Protocol):
    """One of clb's connections. Requests come one by one: clb does not send ahead."""

    transport: asyncio.Transport

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._received = bytearray()
        self._is_tunnel = False
        self._idle: asyncio.TimerHandle | None = None
        self._rest_of_body = 0
        self._block = b""
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] - uvloop's has the methods, not the base class
        self._origin.connections.add(self)
        self._origin.counts["connections"] += 1
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._origin.connections.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    def reset(self) -> None:
        """Cut the connection with RST."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_tunnel:
            self.transport.write(data)
            return
        self._received += data
        request = self._whole_request()
        if request is not None:
            if self._idle is not None:
                self._idle.cancel()
            self._serve(*request)

    def _whole_request(self) -> tuple[str, str, bytes, int] | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._received[: end + 2]).lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            if not self._received.endswith(b"0\r\n\r\n"):
                return None
            size = _chunked_size(bytes(self._received[end + 4 :]))
        else:
            _, found, rest = head.partition(b"\r\ncontent-length: ")
            size = int(rest.partition(b"\r\n")[0]) if found else 0
            if len(self._received) < end + 4 + size:
                return None
        method, path, _ = bytes(self._received[:end]).split(b"\r\n", 1)[0].decode().split(" ")
        self._received.clear()
        return method, path, head, size

    def _serve(self, method: str, path: str, head: bytes, size: int) -> None:
        origin = self._origin
        origin.counts["probes" if PROBE in head else "requests"] += 1
        if path == "/tunnel" and origin.mode != "hang":
            self._is_tunnel = True
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            return
        answer = self._answer(method, path, size)
        if origin.mode == "hang":
            return
        if origin.mode == "reset":
            self.reset()
            return
        if origin.mode == "close":
            self.transport.close()
            return
        if origin.mode == "garbage":
            answer = b"\x00\xff this is no HTTP at all\r\n\r\n"
        elif origin.mode == "error":
            answer = self._head(500, "Content-Length: 0")
        delay = origin.delay()
        if path.startswith("/wait/"):
            delay += int(path.removeprefix("/wait/")) / 1000
        if delay:
            asyncio.get_running_loop().call_later(delay, self._write, answer)
        else:
            self._write(answer)

    def _answer(self, method: str, path: str, size: int) -> bytes:
        name = self._origin.name
        kind, _, number = path.partition("?")[0].lstrip("/").partition("/")
        if kind == "bytes" and int(number) > BLOCK_BYTES and method == "GET":
            # Whole patterns, so that all blocks together are what `body_of` says.
            pattern = name.encode() + b":" + PATTERN
            self._block = pattern * (BLOCK_BYTES // len(pattern))
            self._rest_of_body = int(number)
            return self._head(200, f"Content-Length: {number}")
        if method == "POST":
            body = str(size).encode()
        elif kind == "chunked":
            return self._head(200, "Transfer-Encoding: chunked") + _chunks(body_of(name, int(number)))
        else:
            body = body_of(name, int(number) if kind == "bytes" else 2)
        return self._head(200, f"Content-Length: {len(body)}") + (b"" if method == "HEAD" else body)

    def _head(self, status: int, length: str) -> bytes:
        return f"HTTP/1.1 {status} X\r\nX-Origin: {self._origin.name}\r\n{length}\r\n\r\n".encode()

    def _write(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self._write_more()

    def _write_more(self) -> None:
        while self._rest_of_body and not self._is_paused and not self.transport.is_closing():
            part = self._block[: self._rest_of_body]
            self._rest_of_body -= len(part)
            self._origin.counts["big_bytes"] += len(part)
            self.transport.write(part)
        if not self._rest_of_body:
            self._rest()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._write_more()

    def _rest(self) -> None:
        if self._origin.idle_s is not None:
            self._idle = asyncio.get_running_loop().call_later(self._origin.idle_s, self.transport.close)


def _chunks(body: bytes) -> bytes:
    parts = [body[at : at + 4000] for at in range(0, len(body), 4000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _chunked_size(data: bytes) -> int:
    total, at = 0, 0
    while True:
        line, _, _ = data[at:].partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return total
        total += size
        at += len(line) + 2 + size + 2


async def _main(name: str, address: str, port: int) -> None:
    origin = Origin(name, address, port)
    loop = asyncio.get_running_loop()
    print(json.dumps({"port": await origin.listen()}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps(await origin.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
