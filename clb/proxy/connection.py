"""One client's connection below HTTP: PROXY header, handshake, records, the end, every byte counted.

Owns:      the transport, the TLS engine, the phases of a connection, the classes of bytes.
Elsewhere: requests and answers on it (downstream.py); the listener's own affairs (listener.py); time (sweep.py).

There is no task and no timer for a connection: `deadline` is compared by one sweep for all.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from clb.config.models import Timeouts
from clb.http1.chunked import ChunkedDecoder
from clb.http1.request import RequestHead
from clb.metering.counters import Traffic, after_abort
from clb.metering.lanes import LANE_WORDS
from clb.metering.ledgers import TargetLedger
from clb.proxy.attempts import NEVER
from clb.proxy.exchange import Exchange
from clb.proxy.forwarded import contains
from clb.proxy.proxy_protocol import BadProxyHeader, read_proxy_header
from clb.proxy.tcp import acknowledged_bytes, plain_address, reset_on_close, set_write_marks
from clb.tls.client_identity import ClientCertificateRefused, check_client_chain, client_identity_headers
from clb.tls.engine import RECORD_PLAINTEXT, Progress, TlsEngine, record_expansion
from clb.tls.failures import handshake_failure_reason

if TYPE_CHECKING:
    from clb.proxy.listener import ListenerRuntime

READ_BUFFER_BYTES = 64 * 1024
_FIRST_BYTES = 16

_NOWHERE = memoryview(bytearray(8 * LANE_WORDS)).cast("Q")
"""The lane of a connection that was not let in."""

# One for all connections: the loop fills it and calls back before it reads for anyone else.
_read_buffer = memoryview(bytearray(READ_BUFFER_BYTES))


class Phase(Enum):
    """Where a connection stands; what `deadline` means follows from it."""

    PROXY_HEADER = "proxy_header"
    HANDSHAKE = "handshake"
    HEAD = "head"
    """Waiting for a request head, or reading one."""
    BODY = "body"
    """A request's body is coming in; its answer may be on its way already."""
    ANSWER = "answer"
    """The request is complete."""
    TUNNEL = "tunnel"
    LINGER = "linger"
    """The last reply is sent; what still comes is read and dropped, so that no reset overtakes the reply."""
    CLOSED = "closed"


_PROXY_HEADER, _HANDSHAKE, _HEAD, _BODY, _ANSWER, _TUNNEL, _LINGER, _CLOSED = Phase
_DEAF = (_LINGER, _CLOSED)
"""Nothing is decrypted any more: behind our close_notify OpenSSL takes what still comes for a fault."""


class ClientConnection(asyncio.BufferedProtocol):
    """Bytes of one client. Slots: ten thousand idle ones are held, and each attribute counts."""

    __slots__ = (
        "__weakref__",
        "_body_decoder",
        "_body_remaining",
        "_buffer",
        "_first_bytes",
        "_has_ended_input",
        "_idle_deadline",
        "_is_pumping",
        "_is_read_paused",
        "_is_upstream_blocked",
        "_last_block",
        "_last_head",
        "_proxy_header_bytes",
        "_was_aborted",
        "accepted_at",
        "balance_key",
        "billed_in",
        "billed_out",
        "cipher",
        "client_address",
        "client_port",
        "clock",
        "deadline",
        "engine",
        "exchange",
        "forwarded_lines",
        "handshake_s",
        "is_write_blocked",
        "lane_at",
        "lanes",
        "last_ledger",
        "last_request",
        "ledger",
        "local_address",
        "local_port",
        "log_prefix",
        "phase",
        "plain_lines",
        "requests",
        "resumed",
        "rtt_us",
        "runtime",
        "serial",
        "server_name",
        "source",
        "tls_version",
        "transport",
        "wire_in",
        "wire_out",
    )

    def __init__(self, runtime: ListenerRuntime) -> None:
        self.runtime = runtime
        self.clock = runtime.clock
        self.serial = runtime.next_serial()
        self.phase = _HEAD
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.engine: TlsEngine | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)  # valid from connection_made on
        self.ledger = runtime.ledger
        self.lanes = _NOWHERE
        """Where the four numbers below are stored as they change, so that they outlive this process."""
        self.lane_at = 0
        self.wire_in = 0
        self.wire_out = 0
        self.billed_in = 0
        self.billed_out = 0
        self.requests = 0
        self.last_request = 0
        """The number of the request whose answer says that the connection ends; 0 = the next answer does. Told by the
        listener that takes the connection in."""
        self.last_ledger: TargetLedger | None = None
        """Of the last request that a real server answered; what of it does not arrive is taken back there."""
        self.client_address = b""
        self.client_port = 0
        self.local_address = b""
        self.local_port = 0
        self.tls_version = b"-"
        self.cipher = b"-"
        self.resumed = False
        self.handshake_s = 0.0
        self.rtt_us = 0
        self.server_name: bytes | None = None
        self.log_prefix: Any = None
        self.plain_lines = b""
        """Address, version and Via fields of a request that brought none of these."""
        self.forwarded_lines = b""
        """The connection's other fields for real servers."""
        self.balance_key = b""
        self.accepted_at = 0.0
        self.source = 0
        """What its source is counted by, if connections are; else 0."""
        self._buffer = b""
        self._last_block = b""
        """The last plain head's bytes from the end of its request line on, and what was read from it."""
        self._last_head: RequestHead | None = None
        self._body_remaining = 0
        self._body_decoder: ChunkedDecoder | None = None
        self._proxy_header_bytes = 0
        self._is_pumping = False
        self._is_read_paused = False
        self.is_write_blocked = False
        self._is_upstream_blocked = False
        self._has_ended_input = False
        self._was_aborted = False
        self._first_bytes = b""
        self._idle_deadline = NEVER
        """What `deadline` was set to when the connection fell idle: while they are equal no byte of a head has come."""

    # --- what the HTTP side does with it ---

    @abstractmethod
    def _begin_requests(self, identity_lines: bytes) -> None:
        """Requests may come; the lines say what the client's certificate proved."""

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Take plaintext."""

    @abstractmethod
    def _receive_body(self, pieces: list[bytes]) -> None:
        """Take pieces of a body of known length that do not complete it."""

    @abstractmethod
    def _input_ended(self) -> None:
        """The client sends no more."""

    @abstractmethod
    def _resume_reading(self) -> None:
        """Read on, if nothing stands against it."""

    @abstractmethod
    def deadline_passed(self) -> None:
        """Act on `deadline`, which is over."""

    @abstractmethod
    def rest(self, now: float) -> None:
        """Let go of what only a busy connection has use for."""

    @abstractmethod
    def drain(self, now: float) -> None:
        """End the connection if no request is on it and none is likely to be on its way."""

    @abstractmethod
    def reconfigured(self, old: Timeouts, new: Timeouts) -> None:
        """Go by another configuration."""

    @property
    @abstractmethod
    def awaits_body(self) -> bool:
        """Tell whether it is the client's next piece of a body that is waited for."""

    @abstractmethod
    def spare_rank(self, now: float) -> tuple[int, float] | None:
        """Return how well others can do without this connection (lowest first), and since when; None: not at all."""

    @abstractmethod
    def make_room(self) -> None:
        """End for the sake of others."""

    @property
    def passed_out(self) -> int:
        """Bytes that the kernel has taken on their way to the client."""
        return self.wire_out - self.transport.get_write_buffer_size()

    @property
    def is_ending(self) -> bool:
        """Whether the last word is said, and only what is written has to get out."""
        return self.phase in _DEAF

    # --- what the access log asks for ---

    @property
    def scheme(self) -> bytes:
        """`https` or `http`."""
        return self.runtime.scheme

    @property
    def load_balancer(self) -> str:
        """The load balancer's name."""
        return self.runtime.load_balancer

    @property
    def listener(self) -> str:
        """The listener's name."""
        return self.runtime.config.name

    @property
    def handshake_in(self) -> int:
        """Handshake bytes from the client, valid once the session is up."""
        return self.engine.handshake_in if self.engine is not None else 0

    @property
    def handshake_out(self) -> int:
        """Handshake bytes to the client, valid once the session is up."""
        return self.engine.handshake_out if self.engine is not None else 0

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with whatever the listener speaks first."""
        self.transport = transport  # type: ignore[assignment]
        set_write_marks(self.transport)
        runtime = self.runtime
        self.accepted_at = self.clock.now()
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._set_client(*(peer or ("0.0.0.0", 0))[:2])  # noqa: S104 - a peer that is gone already
        self.local_address, self.local_port = plain_address(local[0]), local[1]
        if not runtime.admit(self):
            self._abort()
            return
        trusted = runtime.config.proxy_protocol
        if trusted is not None and contains(trusted.trusted, self.client_address.decode("ascii")):
            self.phase = _PROXY_HEADER
            self.deadline = self.accepted_at + runtime.timeouts.handshake
        else:
            self._begin_protocol()

    def _set_client(self, address: str, port: int) -> None:
        self.client_address, self.client_port = plain_address(address), port
        self.balance_key = self.client_address

    def _begin_protocol(self) -> None:
        if not self.runtime.admit_source(self):
            self._abort()
            return
        context = self.runtime.tls_context
        if context is None:
            self.deadline = self.clock.now() + self.runtime.timeouts.client_header
            self.phase = _HEAD
            self._begin_requests(b"")
        else:
            self.engine = TlsEngine(context)
            self.phase = _HANDSHAKE
            self.deadline = self.accepted_at + self.runtime.timeouts.handshake

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the worker's buffer for the read that follows."""
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read, to the last byte or until reading pauses."""
        self.wire_in += nbytes
        engine = self.engine
        phase = self.phase
        if phase is _LINGER or phase is _CLOSED:
            self.store()
            return
        if engine is not None and engine.is_established:
            self._decrypt(engine, _read_buffer[:nbytes])
            return
        data = bytes(_read_buffer[:nbytes])
        if phase is _PROXY_HEADER:
            self.store()
            data = self._read_proxy_header(data)
            if not data:
                return
        engine = self.engine
        if engine is None:
            self._receive(data)
        else:
            self.store()
            self._shake_hands(engine, data)

    def _decrypt(self, engine: TlsEngine, data: bytes | memoryview) -> None:
        try:
            if self.phase is _BODY and self._body_remaining > len(data) + RECORD_PLAINTEXT and not self._is_pumping:
                # All of it is body: whole records go on together, without a look at each.
                self._receive_body(engine.decrypt_body(data, self._body_remaining - RECORD_PLAINTEXT))
            else:
                plaintext = engine.decrypt(data)
                if plaintext:
                    self._receive(plaintext)
                else:
                    self.store()
                    self._write(engine.take_outgoing())  # A renegotiation's refusal, or the answer to a key update.
            while engine.has_more and not self._is_read_paused and self.phase not in _DEAF:
                if self.phase is _BODY and self._body_remaining > RECORD_PLAINTEXT and not self._is_pumping:
                    self._receive_body(engine.decrypt_body(b"", self._body_remaining - RECORD_PLAINTEXT))
                    continue
                plaintext = engine.decrypt(b"")
                if plaintext:
                    self._receive(plaintext)
                else:
                    self._write(engine.take_outgoing())
            if engine.peer_closed:
                self._input_ended()
        except ssl.SSLError as error:
            self.store()
            self._write(engine.take_outgoing())
            self.runtime.record_broken(self, error)
            self._close()  # In order, or the alert would not get out.
            if self.exchange is not None:
                self.exchange.downstream_lost()

    def eof_received(self) -> bool:
        """The client sends no more; it may still be reading (half-close)."""
        self._input_ended()
        return self.phase is not _CLOSED

    # --- before the first request ---

    def _read_proxy_header(self, data: bytes) -> bytes:
        """Return what stands behind the header, or nothing while it is incomplete or refused."""
        self._buffer += data
        try:
            header = read_proxy_header(self._buffer)
        except BadProxyHeader as error:
            self._proxy_header_bytes += len(self._buffer)
            self.ledger.proxy_header(len(self._buffer))
            self._buffer = b""
            self.runtime.refused(error)
            self._abort()
            return b""
        if header is None:
            return b""
        data, self._buffer = self._buffer[header.length :], b""
        self._proxy_header_bytes = header.length
        self.ledger.proxy_header(header.length)
        if header.address is not None:
            self._set_client(header.address, header.port)
        self._begin_protocol()
        return data if self.phase is not _CLOSED else b""

    def _shake_hands(self, engine: TlsEngine, data: bytes) -> None:
        if not self._first_bytes and not self.runtime.admit_handshake(self):
            self._abort()
            return
        if len(self._first_bytes) < _FIRST_BYTES:
            self._first_bytes += data[: _FIRST_BYTES - len(self._first_bytes)]
        try:
            progress = engine.handshake(data)
        except ssl.SSLError as error:
            self._handshake_error(engine, error)
            return
        self._write(engine.take_outgoing())
        if progress is Progress.ESTABLISHED:
            self._established(engine)

    def _handshake_error(self, engine: TlsEngine, error: ssl.SSLError) -> None:
        reason = handshake_failure_reason(error, self._first_bytes)
        if reason == "plain_http":
            self.ledger.plain_http(self.wire_in - self._proxy_header_bytes)
            self._write(self.runtime.plain_http_reply())
        else:
            self._write(engine.take_outgoing())
        self._handshake_failed(reason, error)

    def _handshake_failed(self, reason: str, error: Exception | None = None) -> None:
        self.runtime.handshake_failed(self, reason, error)
        self._linger()

    def _established(self, engine: TlsEngine) -> None:
        ssl_object = engine.ssl_object
        runtime = self.runtime
        self.ledger.shook_hands(engine.handshake_in, engine.handshake_out)
        self.handshake_s = self.clock.now() - self.accepted_at
        self.tls_version, self.cipher, self.resumed = engine.negotiated()
        server_name = getattr(ssl_object, "server_name", None)
        if server_name is not None:
            self.server_name = server_name.encode("ascii", "backslashreplace")
        self._first_bytes = b""
        identity_lines = b""
        if runtime.verifies_clients:
            try:
                check_client_chain(
                    ssl_object,
                    verify_depth=runtime.config.verify_depth,
                    min_client_key_bits=runtime.config.min_client_key_bits,
                    is_required=runtime.config.verify_client == "required",
                )
                identity_lines = client_identity_headers(ssl_object)
            except ClientCertificateRefused as error:
                self._handshake_failed(error.reason, error)
                return
        runtime.established(self)
        self.phase = _HEAD
        self.deadline = self.clock.now() + runtime.timeouts.client_header
        self._begin_requests(identity_lines)
        if engine.has_more:
            self._decrypt(engine, b"")

    # --- the end ---

    def _pause_reading(self) -> None:
        if not self._is_read_paused:
            self._is_read_paused = True
            self.transport.pause_reading()

    def _write(self, data: bytes) -> None:
        """Write bytes that are no HTTP: handshake and alerts."""
        if data:
            self.wire_out += len(data)
            self.store()
            self.transport.write(data)

    def _close(self) -> None:
        """End in order: what is written gets out, then close_notify, then FIN."""
        if self.phase is _CLOSED:
            return
        self.phase = _CLOSED
        self.deadline = self.clock.now() + self.runtime.timeouts.send
        if not self.transport.is_closing():
            self._say_goodbye()
            self.transport.close()

    def _linger(self) -> None:
        """Send no more, but read on for a while (RFC 9112 section 9.6)."""
        if self.phase is _CLOSED or self._has_ended_input or not self.runtime.timeouts.linger:
            self._close()
            return
        if self.transport.is_closing():
            return
        self._say_goodbye()
        self.phase = _LINGER
        self._buffer = b""
        timeouts = self.runtime.timeouts
        self.deadline = self.clock.now() + (timeouts.send if self.is_write_blocked else timeouts.linger)
        self._is_upstream_blocked = False
        self._resume_reading()
        self.transport.write_eof()

    def _say_goodbye(self) -> None:
        engine = self.engine
        if engine is not None and not engine.has_closed:
            self._write(engine.close())

    def abort(self) -> None:
        """End the connection at once, whatever it is doing."""
        self._abort()

    def _abort(self) -> None:
        """End with a reset. Else the kernel would go on to send what it holds, after the ledger took it for unsent."""
        if self._was_aborted:
            return
        self.phase = _CLOSED
        self._was_aborted = True
        reset_on_close(self.transport)
        self.transport.abort()

    # --- the ledger ---

    def store(self) -> None:
        """Store what was read and what is about to be written."""
        lanes, at = self.lanes, self.lane_at
        lanes[at], lanes[at + 1] = self.wire_in, self.billed_in
        lanes[at + 2], lanes[at + 3] = self.wire_out, self.billed_out

    def traffic(self, *, is_final: bool = False) -> Traffic:
        """Return the connection's bytes by class, as written to the socket so far."""
        engine = self.engine
        traffic = Traffic(
            wire_in=self.wire_in, wire_out=self.wire_out, billed_in=self.billed_in, billed_out=self.billed_out
        )
        if engine is None:
            traffic.overhead_in = self.wire_in - self.billed_in
            return traffic
        if not engine.is_established:
            traffic.handshake_in = self.wire_in - self._proxy_header_bytes
            traffic.handshake_out = self.wire_out
            traffic.overhead_in = self._proxy_header_bytes
            return traffic
        traffic.handshake_in, traffic.handshake_out = engine.handshake_in, engine.handshake_out
        traffic.overhead_in = self._proxy_header_bytes + engine.overhead_in
        traffic.overhead_out = engine.overhead_out
        if is_final:
            # Bytes behind the last answer that were never decrypted.
            traffic.overhead_in += self.wire_in - self._proxy_header_bytes - engine.ciphertext_in + engine.unread
        return traffic

    def _without_unsent(self, traffic: Traffic) -> Traffic:
        acknowledged = acknowledged_bytes(self.transport)
        if acknowledged is None:
            return traffic
        expansion = 0
        if self.engine is not None and self.engine.is_established:
            expansion = record_expansion(self.tls_version, self.cipher)
        return after_abort(traffic, acknowledged, expansion, RECORD_PLAINTEXT)
