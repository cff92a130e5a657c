"""A client that keeps its own books: TLS over memory BIOs, fed one record at a time.

Its OpenSSL tells what each record that it decrypted was (`_msg_callback`: handshake, alert or data), so it knows
the records of the handshake in both directions, tickets included, without asking clb anything.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

_ALERT, _HANDSHAKE = 21, 22


@dataclass
class Books:
    """One direction as the client saw it; record sizes are on the wire, headers included."""

    wire: int = 0
    handshake: int = 0
    plaintext: int = 0
    handshake_records: int = 0
    records: list[str] = field(default_factory=list)

    @property
    def overhead(self) -> int:
        return self.wire - self.handshake - self.plaintext


OPENED: list[socket.socket] = []
"""Sockets of this test's clients, so that one that fails leaves none open."""


class Answer:
    """A status, the body as sent, and nothing else that these tests need."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body


def observed_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let the context tell each connection's client what its records are."""

    def tell(connection: Any, direction: str, version: Any, content_type: Any, message_type: Any, data: bytes) -> None:
        if direction == "read":
            connection.client.seen.add(int(content_type))

    context._msg_callback = tell  # type: ignore[attr-defined]
    return context


class Client:
    """One connection; `context` None is plain HTTP."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        *,
        session: ssl.SSLSession | None = None,
        server_name: str = "a.test",
        prefix: bytes = b"",
        receive_buffer: int | None = None,
    ) -> None:
        self.sent, self.received = Books(), Books()
        self.seen: set[int] = set()
        self.plaintext = bytearray()
        self.sock = socket.socket()
        OPENED.append(self.sock)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self.sock.getsockname()[1]
        self._tail = b""
        self._is_shut_down = False
        self.ssl_object: ssl.SSLObject | None = None
        if prefix:
            self.send_raw(prefix)
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.ssl_object = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname=server_name, session=session
            )
            self.ssl_object.client = self  # type: ignore[attr-defined]

    # --- the socket ---

    def send_raw(self, data: bytes) -> None:
        self.sent.wire += len(data)
        self.sock.sendall(data)

    def _receive_raw(self) -> bytes:
        data = self.sock.recv(1 << 18)
        self.received.wire += len(data)
        return data

    def _records(self, data: bytes) -> Iterator[bytes]:
        data = self._tail + data
        at = 0
        while len(data) - at >= 5:
            size = 5 + int.from_bytes(data[at + 3 : at + 5])
            if len(data) - at < size:
                break
            yield data[at : at + size]
            at += size
        self._tail = data[at:]

    # --- TLS ---

    def shake_hands(self, early: bytes = b"", *, wait_for_tickets: bool = False) -> None:
        """Play the handshake; `early` leaves in one segment with the client's last flight."""
        assert self.ssl_object is not None
        while True:
            try:
                self.ssl_object.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush("handshake")
            except ssl.SSLError:
                self.flush("handshake")
                raise
            data = self._receive_raw()
            if not data:
                raise ConnectionResetError("closed during the handshake")
            self.take(data, is_shaking=True)
        last_flight = self._take_outgoing("handshake")
        self.send_raw(last_flight + (self.encrypt(early) if early else b""))
        if wait_for_tickets:
            while self.received.records[-1:] != ["ticket"]:
                self.take(self._receive_raw())

    def take(self, data: bytes, *, is_shaking: bool = False) -> None:
        """Feed record by record and see what each was."""
        assert self.ssl_object is not None
        for record in self._records(data):
            self.seen.clear()
            self._incoming.write(record)
            kind = "handshake"
            if is_shaking:
                is_shaking = not self._step()
            else:
                self._read()
                kind = "ticket" if _HANDSHAKE in self.seen else "alert" if _ALERT in self.seen else "data"
            self.received.records.append(kind)
            if kind in ("handshake", "ticket"):
                self.received.handshake += len(record)
                self.received.handshake_records += 1

    def _step(self) -> bool:
        assert self.ssl_object is not None
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _read(self) -> None:
        assert self.ssl_object is not None
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self.ssl_object.read(1 << 16):
                self.received.plaintext += len(piece)
                self.plaintext += piece

    def _take_outgoing(self, kind: str) -> bytes:
        data = self._outgoing.read()
        records = list(self._records_sent(data))
        self.sent.records += [kind] * len(records)
        if kind == "handshake":
            self.sent.handshake += len(data)
            self.sent.handshake_records += len(records)
        return data

    @staticmethod
    def _records_sent(data: bytes) -> Iterator[int]:
        at = 0
        while at < len(data):
            size = 5 + int.from_bytes(data[at + 3 : at + 5])
            yield size
            at += size

    def flush(self, kind: str) -> None:
        data = self._take_outgoing(kind)
        if data:
            self.send_raw(data)

    def encrypt(self, data: bytes) -> bytes:
        assert self.ssl_object is not None
        view = memoryview(data)
        while view:
            view = view[self.ssl_object.write(view) :]
        self.sent.plaintext += len(data)
        return self._take_outgoing("data")

    # --- HTTP ---

    def send(self, data: bytes) -> None:
        """Send HTTP bytes."""
        if self.ssl_object is None:
            self.sent.plaintext += len(data)
            self.send_raw(data)
        else:
            self.send_raw(self.encrypt(data))

    def pull(self) -> bool:
        """Receive once; False at the end of the stream."""
        data = self._receive_raw()
        if self.ssl_object is None:
            self.received.plaintext += len(data)
            self.plaintext += data
        else:
            self.take(data)
        return bool(data)

    def read_exactly(self, size: int) -> bytes:
        while len(self.plaintext) < size:
            assert self.pull(), f"ended after {len(self.plaintext)} of {size} bytes"
        data = bytes(self.plaintext[:size])
        del self.plaintext[:size]
        return data

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self.plaintext:
            assert self.pull(), f"ended in {bytes(self.plaintext)!r}"
        return self.read_exactly(self.plaintext.index(mark) + len(mark))

    def read_answer(self, method: str = "GET") -> Answer:
        """Read a final answer; interim ones are passed over."""
        while True:
            head = self.read_until(b"\r\n\r\n").lower()
            status = int(head.split()[1])
            if status >= 200 or status == 101:
                break
        if method == "HEAD" or status in (101, 204, 304):
            return Answer(status, b"")
        if b"transfer-encoding: chunked" in head:
            return Answer(status, self._read_chunks())
        if b"content-length:" in head:
            return Answer(status, self.read_exactly(int(head.split(b"content-length:")[1].split()[0])))
        return Answer(status, self.read_to_end())

    def _read_chunks(self) -> bytes:
        pieces = []
        while size := int(self.read_until(b"\r\n"), 16):
            pieces.append(self.read_exactly(size))
            assert self.read_exactly(2) == b"\r\n"
        while self.read_until(b"\r\n") != b"\r\n":
            pass
        return b"".join(pieces)

    def read_to_end(self) -> bytes:
        while self.pull():
            pass
        data = bytes(self.plaintext)
        self.plaintext.clear()
        return data

    # --- the end ---

    def say_goodbye(self, behind: bytes = b"") -> None:
        """Send close_notify, in one segment with HTTP bytes before it if there are any."""
        assert self.ssl_object is not None
        data = self.encrypt(behind) if behind else b""
        with suppress(ssl.SSLWantReadError):  # The server's own is not waited for.
            self.ssl_object.unwrap()
        self.send_raw(data + self._take_outgoing("alert"))

    def shut_down(self) -> None:
        """Send FIN."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self.sock.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """Send FIN, take everything that still comes, and close."""
        self.shut_down()
        while self.pull():
            pass
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()
