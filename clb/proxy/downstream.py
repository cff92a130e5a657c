"""One client's connection: PROXY header, handshake, requests in order, answers out, every byte counted.

Owns:      the transport, the TLS engine, the phases of a connection, backpressure, the deadline, classes of bytes.
Elsewhere: reading heads (http1/), what is done with a request (exchange.py), time (sweep.py), the listener's
           own affairs (listener.py).

There is no task and no timer for a connection: `deadline` is compared by one sweep for all. Requests that a client
sends ahead wait in `_buffer`, and reading stops while one does, so a connection holds at most one read of them.
"""

from __future__ import annotations

import _socket
import asyncio
import ssl
import struct
from contextlib import suppress
from enum import Enum
from ipaddress import ip_address
from socket import IPPROTO_TCP, SO_LINGER, SOCK_STREAM, SOL_SOCKET, TCP_INFO
from typing import TYPE_CHECKING, Any, cast

from clb.errors import (
    BadChunk,
    BadRequest,
    BadRequestLine,
    BodyTimeout,
    BodyTooLarge,
    ClbError,
    HeaderTimeout,
    QueueTimeout,
    UpstreamTimeout,
)
from clb.http1.chunked import ChunkedDecoder, encode_chunk, encode_last_chunk
from clb.http1.head_end import request_head_end
from clb.http1.request import CHUNKED, RequestHead, read_request_head, repeat_request_head
from clb.metering.counters import RuleLedger, Traffic, after_abort
from clb.proxy.exchange import NEVER, Exchange
from clb.proxy.forwarded import address_lines, connection_lines, contains
from clb.proxy.proxy_protocol import BadProxyHeader, read_proxy_header
from clb.proxy.replies import error_reply
from clb.tls.client_identity import ClientCertificateRefused, check_client_chain, client_identity_headers
from clb.tls.engine import RECORD_PLAINTEXT, Progress, TlsEngine, record_expansion
from clb.tls.failures import handshake_failure_reason

if TYPE_CHECKING:
    from clb.proxy.listener import ListenerRuntime

READ_BUFFER_BYTES = 64 * 1024
REST_AFTER_S = 5.0
"""An idle connection that old gives back what it keeps for its next request."""
REPEATED_HEAD_LIMIT_BYTES = 2048
"""The largest head that is kept to be compared with the connection's next one."""
_FIRST_BYTES = 16
# tcpi_rtt and tcpi_bytes_acked in Linux' struct tcp_info.
_RTT_OFFSET, _ACKED_OFFSET, _TCP_INFO_BYTES = 68, 120, 128
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time at all."""


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


class Downstream(asyncio.BufferedProtocol):
    """One client's connection. Slots: ten thousand idle ones are held, and each attribute counts."""

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
        "last_ledger",
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
        self.wire_in = 0
        self.wire_out = 0
        self.billed_in = 0
        self.billed_out = 0
        self.requests = 0
        self.last_ledger: RuleLedger | None = None
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
        self.transport = cast(asyncio.Transport, transport)
        runtime = self.runtime
        self.accepted_at = self.clock.now()
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._set_client(*(peer or ("0.0.0.0", 0))[:2])  # noqa: S104 - a peer that is gone already
        self.local_address, self.local_port = _plain_address(local[0]), local[1]
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
        self.client_address, self.client_port = _plain_address(address), port
        self.balance_key = self.client_address

    def _begin_protocol(self) -> None:
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
            return
        if engine is not None and engine.is_established:
            self._decrypt(engine, _read_buffer[:nbytes])
            return
        data = bytes(_read_buffer[:nbytes])
        if phase is _PROXY_HEADER:
            data = self._read_proxy_header(data)
            if not data:
                return
        engine = self.engine
        if engine is None:
            self._receive(data)
        else:
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
                    self._write(engine.take_outgoing())  # A renegotiation's refusal, or the answer to a key update.
            while engine.has_more and not self._is_read_paused and self.phase is not _CLOSED:
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
            self._write(engine.take_outgoing())
            self.runtime.record_broken(self, error)
            self._close()  # In order, or the alert would not get out.
            if self.exchange is not None:
                self.exchange.downstream_lost()

    def eof_received(self) -> bool:
        """The client sends no more; it may still be reading (half-close)."""
        self._input_ended()
        return self.phase is not _CLOSED

    def _input_ended(self) -> None:
        if self._has_ended_input:
            return
        self._has_ended_input = True
        phase, exchange = self.phase, self.exchange
        if phase is _TUNNEL and exchange is not None:
            exchange.downstream_finished()
        elif phase is _HANDSHAKE or phase is _PROXY_HEADER:
            self._handshake_failed("client_closed")
        elif phase is _BODY and exchange is not None:
            exchange.downstream_lost()
            self._abort()
        elif phase is _HEAD or phase is _LINGER:
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count, and let go of everything."""
        was_closed = self.phase is _CLOSED
        if self.phase is _HANDSHAKE:
            self.runtime.handshake_failed(self, "client_closed", exc)
        self.phase = _CLOSED
        self.deadline = NEVER
        exchange, self.exchange = self.exchange, None
        traffic = self.traffic(is_final=True)
        if exc is not None or self._was_aborted or not was_closed:
            traffic = self._without_unsent(traffic)
            self._take_back(self.billed_out - traffic.billed_out, exchange)
        if exchange is not None:
            exchange.downstream_lost()
        self.runtime.ended(self, traffic)
        self.engine = None

    def pause_writing(self) -> None:
        """The client takes no more for now: stop reading from the real server."""
        self.is_write_blocked = True
        self.deadline = self.clock.now() + self.runtime.timeouts.send
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.pause_reading()

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        self.is_write_blocked = False
        exchange = self.exchange
        if exchange is None:
            if self.phase is _HEAD:
                self._idle_deadline = self.deadline = self.clock.now() + self.runtime.timeouts.keepalive
                self._go_on()
            elif self.phase is _LINGER:
                self.deadline = self.clock.now() + self.runtime.timeouts.linger
            return
        self.deadline = self.clock.now() + exchange.idle_timeout_s()
        if exchange.upstream is not None:
            exchange.upstream.resume_reading()

    # --- before the first request ---

    def _read_proxy_header(self, data: bytes) -> bytes:
        """Return what stands behind the header, or nothing while it is incomplete or refused."""
        self._buffer += data
        try:
            header = read_proxy_header(self._buffer)
        except BadProxyHeader as error:
            self._proxy_header_bytes += len(self._buffer)
            self._buffer = b""
            self.runtime.refused(error)
            self._abort()
            return b""
        if header is None:
            return b""
        data, self._buffer = self._buffer[header.length :], b""
        self._proxy_header_bytes = header.length
        if header.address is not None:
            self._set_client(header.address, header.port)
        self._begin_protocol()
        return data

    def _shake_hands(self, engine: TlsEngine, data: bytes) -> None:
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
        self.handshake_s = self.clock.now() - self.accepted_at
        self.tls_version = (ssl_object.version() or "-").encode("ascii")
        cipher = ssl_object.cipher()
        self.cipher = cipher[0].encode("ascii") if cipher else b"-"
        self.resumed = bool(ssl_object.session_reused)
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

    def _begin_requests(self, identity_lines: bytes) -> None:
        """Make the fields that all requests of this connection share."""
        self.plain_lines = address_lines(self.client_address) + b"X-Client-Proto-Ver: HTTP/1.1\r\nVia: 1.1 clb\r\n"
        self.forwarded_lines = connection_lines(self.runtime.scheme, self.runtime.config.port, identity_lines)

    def request_id(self, request: RequestHead) -> bytes:
        """Keep a trusted client's id, else make one."""
        if request.supplied:
            supplied = request.supplied.get(b"x-request-id")
            if supplied and self.runtime.is_trusted(self.client_address) and self.runtime.is_request_id(supplied):
                return supplied
        return self.runtime.next_request_id()

    # --- requests ---

    def _receive(self, data: bytes) -> None:
        """Take plaintext."""
        self.billed_in += len(data)
        self._buffer = self._buffer + data if self._buffer else data
        if not self._is_pumping:
            self._pump()

    def _pump(self) -> None:
        """Work through the buffer, one request after another; never entered twice (`_is_pumping`)."""
        self._is_pumping = True
        while self._buffer:
            phase = self.phase
            if phase is _HEAD:
                if self.is_write_blocked:
                    # A client that sends requests and reads no answers gets no more of them.
                    self._pause_reading()
                    break
                if not self._read_head():
                    break
            elif phase is _BODY:
                data, self._buffer = self._buffer, b""
                self._read_body(data)
            elif phase is _TUNNEL:
                data, self._buffer = self._buffer, b""
                self._forward(data)
            elif phase is _ANSWER:
                self._pause_reading()
                break
            else:
                self._buffer = b""
        self._is_pumping = False

    def _read_head(self) -> bool:
        """Read a head from the buffer and begin its exchange; False while it is incomplete or refused."""
        buffer, runtime = self._buffer, self.runtime
        request = None
        try:
            line_end = buffer.find(b"\r\n")
            block = buffer[line_end:]
            last = self._last_head if block == self._last_block else runtime.repeated_heads.find(block)
            if last is not None and line_end <= runtime.limits.uri_bytes:
                request = repeat_request_head(buffer[:line_end], last)
            if request is not None:
                head, self._buffer = buffer, b""
            else:
                head = self._next_head()
                if not head:
                    return False
                request = read_request_head(head, runtime.limits.headers)
                if request.is_plain and len(head) <= REPEATED_HEAD_LIMIT_BYTES:
                    self._last_block, self._last_head = head[head.find(b"\r\n") :], request
                    runtime.repeated_heads.remember(self._last_block, request)
            turns = runtime.heads_to_guard
            if turns > 1:
                runtime.heads_to_guard = turns - 1
            elif turns:
                runtime.guard_head(head, request)
        except BadRequest as error:
            self._buffer = b""
            self._refuse(error)
            return False
        self._begin_exchange(request, len(head))
        return True

    def _next_head(self) -> bytes:
        """Take a complete head from the buffer; nothing while it is incomplete."""
        limits = self.runtime.limits
        start = 0
        while self._buffer.startswith(b"\r\n", start):
            start += 2  # May stand before a request line (RFC 9112 section 2.2).
        self._buffer = buffer = self._buffer[start:]
        if buffer[:1] == b"\r":
            if len(buffer) > 1:
                raise BadRequestLine("bare CR before the request line")
            return b""
        end = request_head_end(buffer, limits.header_bytes, limits.uri_bytes)
        if not end:
            if self.deadline == self._idle_deadline:
                self.deadline = self.clock.now() + self.runtime.timeouts.client_header
            return b""
        self._buffer = buffer[end:]
        return buffer[:end]

    def _begin_exchange(self, request: RequestHead, head_bytes: int) -> None:
        self.requests += 1
        self.exchange = exchange = Exchange(self, request, self.clock.now(), head_bytes)
        length = request.content_length
        if not length:
            self.phase = _ANSWER
            exchange.begin()
            return
        self.phase = _BODY
        limits = self.runtime.limits
        if length == CHUNKED:
            self._body_decoder = ChunkedDecoder(BadChunk, limits.header_bytes)
        else:
            self._body_remaining = length
            if length > limits.body_bytes:
                exchange.fail(BodyTooLarge(f"{length} bytes, at most {limits.body_bytes} allowed"))
                return
        exchange.begin()

    def _read_body(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None  # the phase says so
        self.expect_body()
        if self._body_decoder is not None:
            self._read_chunks(self._body_decoder, data, exchange)
            return
        remaining = self._body_remaining
        if len(data) > remaining:
            data, self._buffer = data[:remaining], data[remaining:]
        self._body_remaining = remaining = remaining - len(data)
        exchange.billed_in += len(data)
        exchange.request_data(data)
        if not remaining:
            self._request_complete()

    def _receive_body(self, pieces: list[bytes]) -> None:
        """Take pieces of a body of known length that do not complete it."""
        size = sum(map(len, pieces))
        exchange = self.exchange
        assert exchange is not None  # the phase says so
        self.billed_in += size
        exchange.billed_in += size
        self._body_remaining -= size
        if not pieces:
            return
        self.expect_body()
        exchange.request_pieces(pieces)

    def _read_chunks(self, decoder: ChunkedDecoder, data: bytes, exchange: Exchange) -> None:
        try:
            pieces = decoder.feed(data)
            if decoder.body_bytes > self.runtime.limits.body_bytes:
                raise BodyTooLarge(f"chunked body over {self.runtime.limits.body_bytes} bytes")
        except BadRequest as error:
            exchange.fail(error)
            return
        exchange.billed_in += len(data)
        if pieces:
            exchange.request_data(b"".join([encode_chunk(piece) for piece in pieces]))
        if decoder.is_complete:
            self._body_decoder = None
            self._buffer = decoder.leftover
            exchange.billed_in -= len(decoder.leftover)
            exchange.request_data(encode_last_chunk(decoder.trailer_lines))
            self._request_complete()

    def _request_complete(self) -> None:
        if self.phase is _BODY:
            self.phase = _ANSWER
            if self.exchange is not None and not self.exchange.is_queued:
                self.expect_within(self.runtime.timeouts.upstream)

    def _refuse(self, error: ClbError) -> None:
        """Answer a request that never became an exchange, and end the connection."""
        runtime = self.runtime
        runtime.refused(error)
        now = self.clock.now()
        status, request_id = error.client_status or 400, runtime.next_request_id()
        self.send(error_reply(status, request_id, b"", method=b"GET", keep_alive=False, date=self.clock.date(now)))
        runtime.log_refusal(self, error, status, request_id)
        self._linger()

    def _forward(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.billed_in += len(data)
            self.expect_within(self.runtime.timeouts.tunnel)
            exchange.request_data(data)

    # --- what an exchange asks for ---

    def send(self, data: bytes | memoryview) -> None:
        """Send HTTP bytes; the data may be a view that is reused afterwards."""
        if self.phase is _CLOSED:
            return
        self.billed_out += len(data)
        engine = self.engine
        if engine is not None:
            records = engine.encrypt(data)
            self.wire_out += len(records)
            self.transport.write(records)
        else:
            self.wire_out += len(data)
            self.transport.write(bytes(data))

    def expect_within(self, seconds: float) -> None:
        """Set the time in which the next progress is due, unless the client itself is being waited for."""
        if not self.is_write_blocked:
            self.deadline = self.clock.now() + seconds

    def expect_body(self) -> None:
        """Set the time in which the next piece of the body is due, if it is the client that is waited for."""
        exchange = self.exchange
        if self.phase is _BODY and exchange is not None and not exchange.is_queued:
            self.expect_within(self.runtime.timeouts.client_body)

    def may_go_on(self, request: RequestHead) -> bool:
        """Tell whether another request may follow this one on the connection."""
        return (
            request.keep_alive
            and self.phase is _ANSWER
            and not self.runtime.is_draining
            and not self._has_ended_input
            and self.requests < self.runtime.limits.keepalive_requests
            and self.runtime.timeouts.keepalive > 0
        )

    @property
    def has_whole_request(self) -> bool:
        """Tell whether the current request's body is complete, and the real server has taken most of it."""
        return self.phase is not _BODY and not self._is_upstream_blocked

    def begin_tunnel(self) -> None:
        """The real server agreed to an upgrade: bytes pass as they come, first those that the client sent ahead."""
        self.phase = _TUNNEL
        if self._is_read_paused:
            self._go_on()
        if self._has_ended_input and self.exchange is not None:
            self.exchange.downstream_finished()

    def upstream_is_blocked(self, is_blocked: bool) -> None:
        """Pause or resume reading from the client at the real server's pace."""
        self._is_upstream_blocked = is_blocked
        if is_blocked:
            self._pause_reading()
        else:
            self.expect_body()
            self._resume_reading()

    def count_refusal(self, error: ClbError) -> None:
        """Count an error that ended an exchange."""
        self.runtime.refused(error)

    def exchange_ended(self, exchange: Exchange, *, closes: bool, is_cut: bool) -> None:
        """Log the exchange and go on with the next request, or end the connection."""
        self.exchange = None
        self._is_upstream_blocked = False
        self.runtime.access_log.record(exchange)
        phase = self.phase
        if phase is _CLOSED:
            return
        if is_cut:
            self._abort()
        elif phase is _BODY:
            # The answer is out and the body is not in: what still comes is not another request.
            self._linger()
        elif closes:
            # A reset for requests that are not served any more must not overtake the answer.
            self._linger() if self._is_read_paused else self._close()
        else:
            self.phase = _HEAD
            if not self.is_write_blocked:
                self._idle_deadline = self.deadline = exchange.ended_at + self.runtime.timeouts.keepalive
            if self._has_ended_input and not self._buffer:
                self._close()
            elif (self._buffer or self._is_read_paused) and not self._is_pumping:
                self._go_on()

    def _go_on(self) -> None:
        """Begin with what waits behind the last answer, if anything does, and read on."""
        self._pump()
        if self.phase is not _CLOSED:
            self._resume_reading()

    # --- reading and the end ---

    def _pause_reading(self) -> None:
        if not self._is_read_paused:
            self._is_read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._is_read_paused or self._is_upstream_blocked:
            return
        if self._buffer and (self.phase is _ANSWER or self.is_write_blocked):
            return  # A request waits already.
        self._is_read_paused = False
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        engine = self.engine
        if engine is not None and engine.has_more and not self._is_pumping:
            self._decrypt(engine, b"")

    def deadline_passed(self) -> None:
        """What the sweep calls when `deadline` is over."""
        phase, exchange = self.phase, self.exchange
        self.deadline = NEVER
        if phase in (_HANDSHAKE, _PROXY_HEADER):
            self.runtime.handshake_failed(self, "timeout", None)
            self._abort()
        elif self.is_write_blocked:
            self._abort()
        elif phase is _HEAD and self._buffer:
            self._refuse(HeaderTimeout("head incomplete in time"))
        elif exchange is None:
            self._close() if phase is _HEAD else self._abort()
        elif phase is _TUNNEL:
            exchange.answer_complete(is_reusable=False)
        elif exchange.is_queued:
            exchange.fail(QueueTimeout("no connection to the target became free in time"))
        elif phase is _BODY and not (self._is_upstream_blocked or exchange.awaits_continue):
            exchange.fail(BodyTimeout("body stood still"))
        else:
            exchange.fail(UpstreamTimeout("no byte of the answer in time"))

    def rest(self, now: float) -> None:
        """Let go of what only a busy connection has use for; called by the sweep."""
        if self._last_head is None or self.exchange is not None:
            return
        if now > self._idle_deadline - self.runtime.timeouts.keepalive + REST_AFTER_S:
            self._last_head = None
            self._last_block = b""
            self.log_prefix = None

    def drain(self) -> None:
        """End the connection if no request is on it; else it ends behind the current one."""
        if self.phase is _HEAD and not self._buffer and self.exchange is None:
            self._close()

    def abort(self) -> None:
        """End the connection at once, whatever it is doing."""
        self._abort()

    def _write(self, data: bytes) -> None:
        """Write bytes that are no HTTP: handshake and alerts."""
        if data:
            self.wire_out += len(data)
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
        if self.engine is not None:
            self._write(self.engine.close())

    def _abort(self) -> None:
        """End with a reset. Else the kernel would go on to send what it holds, after the ledger took it for unsent."""
        if self._was_aborted:
            return
        self.phase = _CLOSED
        self._was_aborted = True
        sock = self.transport.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # Gone already, or no socket at all (a test's).
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self.transport.abort()

    # --- the ledger ---

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
        info = self._tcp_info()
        if info is None:
            return traffic
        expansion = 0
        if self.engine is not None and self.engine.is_established:
            expansion = record_expansion(self.tls_version, self.cipher)
        return after_abort(traffic, struct.unpack_from("Q", info, _ACKED_OFFSET)[0], expansion, RECORD_PLAINTEXT)

    def _take_back(self, unsent: int, exchange: Exchange | None) -> None:
        """Take HTTP bytes that never arrived out of the last answer, be it under way or over."""
        if exchange is not None:
            share = min(unsent, exchange.billed_out)
            exchange.billed_out -= share
            unsent -= share
        if unsent and self.last_ledger is not None:
            self.last_ledger.take_back(unsent)

    def _tcp_info(self) -> bytes | None:
        sock = self.transport.get_extra_info("socket")
        try:
            # The loop's own socket object asks the kernel for the family on each call; this one is told.
            raw = _socket.socket(sock.family, SOCK_STREAM, 0, sock.fileno())
        except (OSError, AttributeError):
            return None  # Not a TCP socket (a test's), or gone.
        try:
            info: bytes = raw.getsockopt(IPPROTO_TCP, TCP_INFO, _TCP_INFO_BYTES + 64)
        except OSError:
            return None
        finally:
            raw.detach()
        return info if len(info) >= _TCP_INFO_BYTES else None

    def measure_rtt(self) -> None:
        """Read the kernel's round-trip estimate, once per connection, for the log."""
        info = self._tcp_info()
        if info is not None:
            (self.rtt_us,) = struct.unpack_from("I", info, _RTT_OFFSET)


def _plain_address(address: str) -> bytes:
    """Return an address without a scope, an IPv4-mapped one as IPv4."""
    if ":" not in address:
        return address.encode("ascii")
    ip = ip_address(address.partition("%")[0])
    return str(getattr(ip, "ipv4_mapped", None) or ip).encode("ascii")
