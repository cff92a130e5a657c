"""A real server for floods, in a process of its own: prints its port and serves until its input ends.

/bytes/N   N bytes, written only as fast as they are taken      anything else   2 bytes
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BLOCK = bytes(65536)


class Conversation(asyncio.Protocol):
    """One connection; a request's head is taken whole, its body is only counted."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._head = b""
        self._body = self._owed = 0
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._body:
            self._body -= len(data)
        else:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            self._target = head.split(b" ")[1]
            length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            self._body = int(length or 0) - len(rest)
        if not self._body:
            self._answer()

    def _answer(self) -> None:
        if not self._target.startswith(b"/bytes/"):
            self.transport.write(SMALL)
            return
        self._owed = int(self._target[7:])
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._owed)
        self._write()

    def _write(self) -> None:
        while self._owed and self._may_write:
            block = BLOCK[: self._owed]
            self._owed -= len(block)
            self.transport.write(block)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._write()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Conversation, "127.0.0.1", 0, backlog=4096)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
