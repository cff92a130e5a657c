"""A real server whose answers the path of a request decides, and an echo behind an upgrade.

/bytes/N        N bytes with a length              /chunked/N   N bytes in chunks, and a trailer
/until-close/N  N bytes, then the end of stream    /empty       204
/cut/N          N of 2N promised bytes, then a reset when /cut is told to (`RealServer.cut`)
/early          413 before the body has come       /interim     103, then 200
/echo-size      how many body bytes came           /upgrade     101, then every byte comes back
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

import h11
from loop_thread import LoopThread

_BLOCK = bytes(range(256)) * 256
CHUNK_BYTES = 10_000


def body_of(size: int) -> bytes:
    """The body that a path with this number asks for."""
    return (_BLOCK * (size // len(_BLOCK) + 1))[:size]


class _Connection(asyncio.Protocol):
    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17)
        self._is_tunnel = False
        self._body_bytes = 0
        self._target = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._is_tunnel:
            self._server.tunnel_bytes += len(data)
            self.transport.write(data)
            return
        self._reader.receive_data(data)
        while not self._is_tunnel:
            event = self._reader.next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._answer(*self._split())
                if self._is_tunnel or self.transport.is_closing():
                    return
                self._send_nothing_more()
            else:
                return

    def _begin(self, request: h11.Request) -> None:
        self._target = request.target.decode()
        self._body_bytes = 0
        if (b"expect", b"100-continue") in request.headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._target == "/early":
            self.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
            )
        self._is_head = request.method == b"HEAD"

    def _split(self) -> tuple[str, int]:
        kind, _, size = self._target.partition("?")[0].strip("/").partition("/")
        return kind, int(size or 0)

    def _send_nothing_more(self) -> None:
        """Tell h11 that the answer is out; it was written past it."""
        self._reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._reader.send(h11.EndOfMessage())
        self._reader.start_next_cycle()

    def _answer(self, kind: str, size: int) -> None:
        write = self.transport.write
        if kind == "upgrade":
            write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            self._is_tunnel = True
        elif kind == "chunked":
            write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
            body = body_of(size)
            for start in range(0, size, CHUNK_BYTES):
                piece = body[start : start + CHUNK_BYTES]
                write(b"%x\r\n%b\r\n" % (len(piece), piece))
            write(b"0\r\nX-Sum: 1\r\n\r\n")
        elif kind == "until-close":
            write(b"HTTP/1.1 200 OK\r\n\r\n" + body_of(size))
            self.transport.close()
        elif kind == "cut":
            write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (2 * size, body_of(size)))
        elif kind == "die":
            write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (2 * size, body_of(size)))
            self.reset()
        elif kind == "empty":
            write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif kind == "early":
            self.transport.close()
        else:
            if kind == "interim":
                write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
            body = b"%d" % self._body_bytes if kind == "echo-size" else body_of(size)
            write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), b"" if self._is_head else body))

    def reset(self) -> None:
        """End with a reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class RealServer:
    """Listens on a port of the system's choice."""

    def __init__(self) -> None:
        self.connections: set[_Connection] = set()
        self.tunnel_bytes = 0
        self._thread = LoopThread()
        self._server = self._thread.run(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        return await self._thread.loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)

    def cut(self) -> None:
        """Reset every connection that clb has open."""
        self._thread.call(lambda: [connection.reset() for connection in tuple(self.connections)])

    def close(self) -> None:
        self._server.get_loop().call_soon_threadsafe(self._server.close)
        self._thread.call(lambda: [connection.transport.abort() for connection in tuple(self.connections)])
        self._thread.stop()
