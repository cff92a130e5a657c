"""A client in memory for the engine, and a reader of records that shares no code with it."""

from __future__ import annotations

import ssl
import warnings
from contextlib import suppress
from dataclasses import dataclass

import trustme

from clb.tls.engine import Progress, TlsEngine

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
HANDSHAKE, ALERT, APPLICATION_DATA = 22, 21, 23
NAME = "localhost"

AUTHORITY = trustme.CA(key_type=trustme.KeyType.RSA)  # ECDSA certificates need SHA-2, which TLS 1.0 clients lack
CERTIFICATE = AUTHORITY.issue_cert(NAME, key_type=trustme.KeyType.RSA)


@dataclass(frozen=True)
class Record:
    """One TLS record as it crosses the wire."""

    kind: int
    length: int

    @property
    def wire_bytes(self) -> int:
        return 5 + self.length


def records(wire: bytes) -> list[Record]:
    """Walk whole records by their headers (RFC 8446 section 5.1); anything left over is an error."""
    found, position = [], 0
    while position < len(wire):
        assert position + 5 <= len(wire), "a record header is cut"
        assert wire[position + 1] == 3, "not a TLS record"
        length = int.from_bytes(wire[position + 3 : position + 5])
        found.append(Record(wire[position], length))
        position += 5 + length
    assert position == len(wire), "a record is cut"
    return found


def _context(protocol: int, version: str, ciphers: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    if version != "TLSv1.3":
        context.set_ciphers(ciphers + ":@SECLEVEL=0")
    with warnings.catch_warnings():  # the old versions are named on purpose
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def server_context(version: str = "TLSv1.3", ciphers: str = "ALL") -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, version, ciphers)
    CERTIFICATE.configure_cert(context)
    return context


def client_context(version: str = "TLSv1.3", ciphers: str = "ALL") -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, version, ciphers)
    AUTHORITY.configure_trust(context)
    return context


class Client:
    """The other end of an engine's wire; keeps every byte of both directions."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=NAME, session=session)
        self.sent = b""
        self.received = b""
        self.plaintext = b""

    def take(self) -> bytes:
        """What the client has to say now."""
        data = self.outgoing.read()
        self.sent += data
        return data

    def give(self, data: bytes) -> None:
        """Hand the client what the engine made."""
        self.received += data
        self.incoming.write(data)

    def step(self) -> bool:
        """Go on with the handshake; True when the client's side of it is over."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self) -> bytes:
        """Read what there is."""
        while True:
            try:
                piece = self.tls.read(65536)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                return self.plaintext
            if not piece:
                return self.plaintext
            self.plaintext += piece

    def close(self) -> bytes:
        """Say close_notify without waiting for the answer."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.take()


def shake_hands(engine: TlsEngine, client: Client, early: bytes = b"", slice_size: int = 1 << 20) -> bytes:
    """Play the handshake; `early` is written behind the client's last flight.

    Returns what the client has sent and the engine was not given, since its session was up before.
    """
    client_is_done = False
    for _ in range(6):
        if not client_is_done:
            client_is_done = client.step()
            if client_is_done and early:
                client.tls.write(early)
        flight = client.take()
        while flight and not engine.is_established:
            piece, flight = flight[:slice_size], flight[slice_size:]
            progress = engine.handshake(piece)
            assert (progress is Progress.ESTABLISHED) == engine.is_established
        client.give(engine.take_outgoing())
        if engine.is_established and client_is_done:
            return flight
    raise AssertionError("the handshake does not end")
