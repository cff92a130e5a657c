"""One connection's TLS: an SSLObject between two memory BIOs, and the count of what is handshake.

Owns:      the handshake's bytes, records in and out, close_notify.
Elsewhere: contexts and certificates (contexts.py); sockets and time (proxy/downstream.py).
Pure:      bytes in, bytes out; no socket, no loop, no clock.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from enum import Enum
from typing import Any

RECORD_PLAINTEXT = 16384
"""Largest plaintext of one record (RFC 8446 section 5.1)."""

# Bytes that a record adds to its plaintext, header included, by the end of the suite's name (RFC 5288, 7905, 8446).
_TLS13_EXPANSION = 5 + 1 + 16
_TLS12_GCM_EXPANSION = 5 + 8 + 16
_TLS12_CHACHA_EXPANSION = 5 + 16
_CBC_EXPANSION = 5 + 16 + 20 + 16


class Progress(Enum):
    """Where a handshake stands."""

    WANTS_MORE = 0
    ESTABLISHED = 1


class TlsEngine:
    """Server side of one TLS connection (RFC 8446, RFC 5246)."""

    __slots__ = (
        "_do_handshake",
        "_incoming",
        "_inner",
        "_outgoing",
        "_ssl_read",
        "_ssl_write",
        "ciphertext_in",
        "ciphertext_out",
        "handshake_in",
        "handshake_out",
        "has_closed",
        "has_more",
        "is_established",
        "peer_closed",
        "plaintext_in",
        "plaintext_out",
        "ssl_object",
    )

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # What `SSLObject` wraps in Python frames of its own, several times for each request and each connection.
        inner: Any = self.ssl_object._sslobj  # type: ignore[attr-defined]
        self._inner = inner
        self._ssl_read: Callable[[int], bytes] = inner.read
        self._do_handshake: Callable[[], None] = inner.do_handshake
        self._ssl_write: Callable[[bytes | memoryview], int] = inner.write
        self.is_established = False
        """The session is up."""
        self.has_more = False
        """Ciphertext is left that `decrypt` has not tried yet."""
        self.peer_closed = False
        """The peer's close_notify has come."""
        self.has_closed = False
        """Our close_notify has been made."""
        self.ciphertext_in = 0
        """Bytes fed, handshake included."""
        self.ciphertext_out = 0
        """Bytes made for the peer, handshake included."""
        self.plaintext_in = 0
        self.plaintext_out = 0
        self.handshake_in = 0
        """Valid when the session is up; until then, and if it never is, every byte is handshake."""
        self.handshake_out = 0

    def handshake(self, data: bytes) -> Progress:
        """Feed bytes of the handshake; what must be sent waits in `take_outgoing`.

        Raises:
            ssl.SSLError: the handshake failed; an alert may wait in `take_outgoing`.
        """
        self.ciphertext_in += self._incoming.write(data)
        try:
            self._do_handshake()
        except ssl.SSLWantReadError:
            return Progress.WANTS_MORE
        self.is_established = True
        self.has_more = bool(self._incoming.pending)
        # A request can ride in behind the client's last handshake flight. Those bytes wait in the incoming
        # BIO and are the customer's traffic, so they are not handshake.
        self.handshake_in = self.ciphertext_in - self._incoming.pending
        # The server's last flight, TLS 1.3 tickets included, still waits in the outgoing BIO.
        self.handshake_out = self.ciphertext_out + self._outgoing.pending
        return Progress.ESTABLISHED

    def take_outgoing(self) -> bytes:
        """Return what must be sent now, possibly nothing."""
        data = self._outgoing.read()
        self.ciphertext_out += len(data)
        return data

    def decrypt(self, data: bytes | memoryview) -> bytes:
        """Feed ciphertext and return the plaintext of one record at most; more may wait (`has_more`).

        Raises:
            ssl.SSLError: a record is broken; an alert may wait in `take_outgoing`.
        """
        if data:
            self.ciphertext_in += self._incoming.write(data)
        try:
            plaintext = self._ssl_read(RECORD_PLAINTEXT)
        except ssl.SSLWantReadError:
            self.has_more = False  # What is left is a record that is still incomplete.
            return b""
        except ssl.SSLZeroReturnError:
            self.has_more = False
            self.peer_closed = True
            return b""
        if not plaintext:
            # How OpenSSL's module reports a close_notify as long as ours is not sent.
            self.has_more = False
            self.peer_closed = True
            return b""
        # A whole record fits into the read, so what OpenSSL has not handed out can only be ciphertext.
        self.has_more = self._incoming.pending > 0
        self.plaintext_in += len(plaintext)
        return plaintext

    def decrypt_body(self, data: bytes | memoryview, limit: int) -> list[bytes]:
        """Feed ciphertext and return plaintext, record by record, until `limit` bytes are there or none is left.

        Raises:
            ssl.SSLError: a record is broken.
        """
        if data:
            self.ciphertext_in += self._incoming.write(data)
        read, pieces, total = self._ssl_read, [], 0
        try:
            while total < limit:
                piece = read(RECORD_PLAINTEXT)
                if not piece:
                    self.peer_closed = True
                    break
                pieces.append(piece)
                total += len(piece)
            self.has_more = self._incoming.pending > 0 and not self.peer_closed
        except ssl.SSLWantReadError:
            self.has_more = False
        except ssl.SSLZeroReturnError:
            self.has_more = False
            self.peer_closed = True
        self.plaintext_in += total
        return pieces

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Return the records that carry `data`."""
        written = self._ssl_write(data)
        if written < len(data):
            # In OpenSSL's partial-write mode, which is the standard library's to set, a call takes one record.
            view = memoryview(data)
            while written < len(view):
                written += self._ssl_write(view[written:])
        self.plaintext_out += written
        records = self._outgoing.read()
        self.ciphertext_out += len(records)
        return records

    def close(self) -> bytes:
        """Return the close_notify alert, or nothing where the session is not up or already closed."""
        if not self.is_established or self.has_closed:
            return b""
        self.has_closed = True
        try:  # noqa: SIM105 - three Python frames for each connection
            self._inner.shutdown()
        except ssl.SSLError:
            pass  # SSLWantReadError: the peer's is not waited for (RFC 8446 section 6.1).
        return self.take_outgoing()

    def negotiated(self) -> tuple[bytes, bytes, bool]:
        """Return version, suite (`-` where there is none) and whether a session was resumed; valid when it is up."""
        inner = self._inner
        cipher = inner.cipher()
        version = inner.version() or "-"
        return version.encode("ascii"), cipher[0].encode("ascii") if cipher else b"-", inner.session_reused

    @property
    def unread(self) -> int:
        """Bytes fed that no record has consumed yet."""
        return self._incoming.pending

    @property
    def overhead_in(self) -> int:
        """Bytes of consumed records beside their plaintext: headers, MACs, padding, alerts, key updates."""
        if not self.is_established:
            return 0
        return self.ciphertext_in - self._incoming.pending - self.handshake_in - self.plaintext_in

    @property
    def overhead_out(self) -> int:
        """Bytes of records made beside their plaintext."""
        if not self.is_established:
            return 0
        return self.ciphertext_out - self.handshake_out - self.plaintext_out


def record_expansion(tls_version: bytes, cipher: bytes) -> int:
    """Return how many bytes a full record adds to its plaintext (an upper bound for CBC suites)."""
    if tls_version == b"TLSv1.3":
        return _TLS13_EXPANSION
    if cipher.endswith(b"POLY1305"):
        return _TLS12_CHACHA_EXPANSION
    if b"GCM" in cipher or b"CCM" in cipher:
        return _TLS12_GCM_EXPANSION
    return _CBC_EXPANSION
