"""A client's connection for programs that open very many: HTTP/1.1 over TLS or without, on asyncio.

It does what a careful client does and no more: it verifies the server, reads each answer whole, and never asks again.
Each failure has one word (`FAILURES`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass

FAILURES = ("refused", "reset", "ended", "timeout", "tls", "status", "body", "no_http")


class Failed(Exception):
    """What should have come did not; `kind` is one of FAILURES."""

    def __init__(self, kind: str, detail: object = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = str(detail)
        self.port = 0
        """Of the client, if there was a connection."""


@dataclass(slots=True)
class Answer:
    """One answer, read whole."""

    status: int
    fields: dict[bytes, bytes]
    """Names in lower case; of repeated ones the last."""
    body: bytes


class HttpStream(asyncio.Protocol):
    """One connection; made by `open_stream`."""

    transport: asyncio.Transport

    def __init__(self, tls: tuple[ssl.SSLContext, str, ssl.SSLSession | None] | None) -> None:
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self.end: Failed | None = None
        """How the connection ended, if it has."""
        self.requests = 0
        self.is_last = False
        """Whether the last answer said that the connection ends behind it."""
        self.tls: ssl.SSLObject | None = None
        if tls is not None:
            context, name, session = tls
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)
            self._is_shaking_hands = True
        self.port = 0

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] - uvloop's has the methods, not the base class
        self.port = transport.get_extra_info("sockname")[1]

    def data_received(self, data: bytes) -> None:
        if self.tls is None:
            self._buffer += data
        else:
            self._incoming.write(data)
            try:
                self._decrypt(self.tls)
            except ssl.SSLError as error:
                self._ended(Failed("tls", error))
        self._wake()

    def _decrypt(self, tls: ssl.SSLObject) -> None:
        try:
            if self._is_shaking_hands:
                tls.do_handshake()
                self._is_shaking_hands = False
            while True:
                data = tls.read(65536)
                if not data:
                    raise ssl.SSLZeroReturnError
                self._buffer += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended(Failed("ended", "close_notify"))
        finally:
            if out := self._outgoing.read():
                self.transport.write(out)

    def eof_received(self) -> None:
        self._ended(Failed("ended", "end of the TCP stream"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(Failed("reset", exc) if exc is not None else Failed("ended", "closed"))

    def _ended(self, how: Failed) -> None:
        if self.end is None:
            self.end = how
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the client's side ---

    async def _more(self) -> None:
        if self.end is not None:
            raise Failed(self.end.kind, self.end.detail)
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    async def shake_hands(self) -> None:
        if self.tls is None:
            return
        with_bytes_out = ssl.SSLWantReadError
        try:
            self.tls.do_handshake()
        except with_bytes_out:
            self.transport.write(self._outgoing.read())
        while self._is_shaking_hands:
            await self._more()

    def send(self, data: bytes) -> None:
        if self.end is not None:
            raise Failed(self.end.kind, f"before the request: {self.end.detail}")
        if self.tls is None:
            self.transport.write(data)
        else:
            for at in range(0, len(data), 16384):
                self.tls.write(data[at : at + 16384])
            self.transport.write(self._outgoing.read())

    async def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def read_until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            await self._more()
        data = bytes(self._buffer[: at + len(end)])
        del self._buffer[: at + len(end)]
        return data

    async def ask(self, request: bytes) -> Answer:
        """Send one request and read its answer.

        Raises:
            Failed: it does not come whole, or is no HTTP.
        """
        if self._buffer:
            raise Failed("no_http", f"bytes that nobody asked for: {bytes(self._buffer[:80])!r}")
        self.requests += 1
        self.send(request)
        head = await self.read_until(b"\r\n\r\n")
        try:
            start, *lines = head[:-4].split(b"\r\n")
            status = int(start.split(b" ")[1])
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            has_body = status >= 200 and status not in (204, 304) and not request.startswith(b"HEAD ")
            if not has_body:
                body = b""
            elif fields.get(b"transfer-encoding") == b"chunked":
                body = await self._read_chunks()
            else:
                body = await self.read(int(fields[b"content-length"]))
        except (ValueError, IndexError, KeyError) as error:
            raise Failed("no_http", f"{error!r} in {head[:200]!r}") from error
        self.is_last = fields.get(b"connection", b"").lower() == b"close"
        return Answer(status, fields, body)

    async def _read_chunks(self) -> bytes:
        body = b""
        while size := int(await self.read_until(b"\r\n"), 16):
            body += await self.read(size)
            await self.read(2)
        await self.read(2)
        return body

    @property
    def resumed(self) -> bool:
        """Whether the TLS session is an earlier one."""
        return self.tls is not None and bool(self.tls.session_reused)

    def close(self) -> None:
        """End in order."""
        if self.tls is not None and self.end is None:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                self.transport.write(self._outgoing.read())
        self._ended(Failed("ended", "closed by this client"))
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection with RST."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._ended(Failed("ended", "cut by this client"))
        self.transport.abort()


async def open_stream(
    port: int,
    tls: tuple[ssl.SSLContext, str, ssl.SSLSession | None] | None = None,
    *,
    prefix: bytes = b"",
) -> HttpStream:
    """Connect and shake hands.

    Raises:
        Failed: it did not come to that.
    """
    loop = asyncio.get_running_loop()
    try:
        _, stream = await loop.create_connection(lambda: HttpStream(tls), "127.0.0.1", port)
    except ConnectionRefusedError as error:
        raise Failed("refused", error) from error
    except ConnectionResetError as error:
        raise Failed("reset", error) from error
    except TimeoutError as error:
        raise Failed("timeout", f"connecting: {error}") from error
    try:
        if prefix:
            stream.transport.write(prefix)
        await stream.shake_hands()
    except BaseException as error:
        if isinstance(error, Failed):
            error.port = stream.port
        stream.transport.abort()
        raise
    return stream


def request(path: str, host: str, method: str = "GET", fields: str = "", body: bytes = b"") -> bytes:
    """The bytes of a request; `fields` are whole lines."""
    length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n".encode() + body
