"""A client that sends the bytes it is told to, over TLS or without, and reads answers strictly."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass

from real_server import WAIT_S
from tls_material import HOST


@dataclass(frozen=True)
class Answer:
    """One response as the client read it."""

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for other, value in self.fields if other.lower() == name.lower()]

    def one(self, name: bytes) -> bytes:
        """The value of a field that stands there once."""
        (value,) = self.all(name)
        return value


class Client:
    """One connection. TLS runs over memory BIOs, so that every record is under control."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        *,
        server_name: str = HOST,
        prefix: bytes = b"",
        session: ssl.SSLSession | None = None,
        receive_buffer: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(WAIT_S)
        try:
            self.sock.connect((address, port))
        except BaseException:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._ended = False
        self.tls: ssl.SSLObject | None = None
        if prefix:
            self.sock.sendall(prefix)
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name, session=session)
            try:
                self._shake_hands(self.tls)
            except BaseException:
                with suppress(OSError):
                    self._flush()  # The alert.
                self.sock.close()
                raise

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self.sock.sendall(data)

    # --- sending ---

    def send(self, data: bytes) -> None:
        """Send plaintext, all of it."""
        self.sock.sendall(self.sealed(data))

    def sealed(self, data: bytes) -> bytes:
        """The bytes that carry `data` on the wire."""
        if self.tls is None:
            return data
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """The record by which a TLS client says that it sends no more."""
        assert self.tls is not None
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        return self._outgoing.read()

    def end(self) -> None:
        """Send no more, and go on reading."""
        if self.tls is not None:
            self.sock.sendall(self.close_notify())
        with suppress(OSError):  # The other side may have answered the close_notify with its own end.
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Cut the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close without a word of TLS."""
        self.sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ---

    def receive(self) -> bytes:
        """Some plaintext; nothing at the end of the stream."""
        if self.tls is None:
            return self.sock.recv(65536)
        while not self._ended:
            try:
                data = self.tls.read(65536)
                if data:
                    return data
                self._ended = True
            except ssl.SSLWantReadError:
                wire = self.sock.recv(65536)
                if not wire:
                    raise EOFError("the TCP stream ended without close_notify") from None
                self._incoming.write(wire)
            except ssl.SSLZeroReturnError:
                self._ended = True
        return b""

    def _fill(self) -> None:
        data = self.receive()
        if not data:
            raise EOFError(f"the stream ended behind {self._buffer[:200]!r}")
        self._buffer += data

    def read_until(self, end: bytes) -> bytes:
        """What comes up to and with `end`."""
        while end not in self._buffer:
            self._fill()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_to_end(self) -> bytes:
        """All that still comes; over TLS the end must be a close_notify."""
        while data := self.receive():
            self._buffer += data
        data, self._buffer = self._buffer, b""
        return data

    def read_answer(self, method: str = "GET") -> Answer:
        """One response, framed as RFC 9112 section 6.3 says."""
        start, *lines = self.read_until(b"\r\n\r\n")[:-4].split(b"\r\n")
        version, status, reason = start.split(b" ", 2)
        assert version == b"HTTP/1.1", start
        fields = [_field(line) for line in lines]
        lowered = {name.lower(): value for name, value in fields}
        trailers: list[tuple[bytes, bytes]] = []
        if method == "HEAD" or status in (b"204", b"304") or status.startswith(b"1"):
            body = b""
        elif b"transfer-encoding" in lowered:
            assert lowered[b"transfer-encoding"] == b"chunked"
            assert b"content-length" not in lowered
            body, trailers = self._read_chunked()
        elif b"content-length" in lowered:
            body = self.read(int(lowered[b"content-length"]))
        else:
            body = self.read_to_end()
        return Answer(int(status), reason, fields, body, trailers)

    def _read_chunked(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        body = b""
        while size := int(self.read_until(b"\r\n"), 16):
            body += self.read(size)
            assert self.read(2) == b"\r\n"
        trailers = []
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            trailers.append(_field(line[:-2]))
        return body, trailers

    def ask(self, path: str = "/", method: str = "GET", fields: str = "", body: bytes = b"") -> Answer:
        """Send one request and read its answer."""
        self.send(request(path, method, fields, body))
        return self.read_answer(method)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip()


def request(path: str = "/", method: str = "GET", fields: str = "", body: bytes = b"", host: str = HOST) -> bytes:
    """The bytes of a request; `fields` are whole lines."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n".encode() + body
