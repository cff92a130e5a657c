"""One client's requests, in order, and their answers: heads, bodies, backpressure, deadlines.

Owns:      the way from plaintext to exchanges, what may be sent when, and what a passed deadline means.
Elsewhere: the bytes below (connection.py), reading heads (http1/), what is done with a request (exchange.py).

Requests that a client sends ahead wait in `_buffer`, and reading stops while one does, so a connection holds at most
one read of them.
"""

from __future__ import annotations

from clb.config.models import Timeouts
from clb.errors import (
    BadChunk,
    BadRequest,
    BadRequestLine,
    BodyTimeout,
    BodyTooLarge,
    ClbError,
    HeaderTimeout,
    Overloaded,
    QueueTimeout,
    UpstreamTimeout,
)
from clb.http1.chunked import ChunkedDecoder, encode_chunk, encode_last_chunk
from clb.http1.head_end import request_head_end
from clb.http1.request import CHUNKED, RequestHead, read_request_head, repeat_request_head
from clb.proxy.attempts import NEVER
from clb.proxy.connection import ClientConnection, Phase
from clb.proxy.exchange import Exchange
from clb.proxy.forwarded import address_lines, connection_lines
from clb.proxy.replies import error_reply

REST_AFTER_S = 5.0
"""An idle connection that old gives back what it keeps for its next request."""
SPARED_S = 1.0
"""A connection on which something happened within this time does not make room for others."""
DRAIN_IDLE_S = 1.0
"""So long without a request, and a connection that is to end is closed."""
REPEATED_HEAD_LIMIT_BYTES = 2048
"""The largest head that is kept to be compared with the connection's next one."""

_PROXY_HEADER, _HANDSHAKE, _HEAD, _BODY, _ANSWER, _TUNNEL, _LINGER, _CLOSED = Phase


class Downstream(ClientConnection):
    """HTTP on one client's connection."""

    __slots__ = ()

    # --- asyncio's side ---

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
            self._take_back(traffic.unsent_billed_out, exchange)
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

    # --- requests ---

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
            self.store()
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
        self.store()
        exchange.count_in(len(data))
        exchange.request_data(data)
        if not remaining:
            self._request_complete()

    def _receive_body(self, pieces: list[bytes]) -> None:
        """Take pieces of a body of known length that do not complete it."""
        size = sum(map(len, pieces))
        exchange = self.exchange
        assert exchange is not None  # the phase says so
        self.billed_in += size
        self.store()
        exchange.count_in(size)
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
        self.store()
        exchange.count_in(len(data) - len(decoder.leftover))
        if pieces:
            exchange.request_data(b"".join([encode_chunk(piece) for piece in pieces]))
        if decoder.is_complete:
            self._body_decoder = None
            self._buffer = decoder.leftover
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
        self.ledger.answered(status)
        self.send(error_reply(status, request_id, b"", method=b"GET", keep_alive=False, date=self.clock.date(now)))
        runtime.log_refusal(self, error, status, request_id)
        self._linger()

    def _forward(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            self.store()
            exchange.count_in(len(data))
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
            # What `store` does, without the call.
            lanes, at = self.lanes, self.lane_at
            lanes[at], lanes[at + 1] = self.wire_in, self.billed_in
            lanes[at + 2], lanes[at + 3] = self.wire_out, self.billed_out
            self.transport.write(records)
        else:
            self.wire_out += len(data)
            self.store()
            self.transport.write(bytes(data))

    def send_last(self, data: bytes) -> None:
        """Send the HTTP bytes that end the connection with close_notify in the same write: one packet, not two."""
        engine = self.engine
        if engine is None or self.phase is _CLOSED:
            self.send(data)
            return
        self.billed_out += len(data)
        records = engine.encrypt(data) + engine.close()
        self.wire_out += len(records)
        self.store()
        self.transport.write(records)

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
            and not self._has_ended_input
            and self.requests < self.last_request
        )

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
        if engine is not None and engine.has_more and not self._is_pumping and self.phase is not _LINGER:
            self._decrypt(engine, b"")

    # --- what the sweep and the drain ask for ---

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
            waits_for = "place" if exchange.candidate is None else "connection to the target"
            error = Overloaded if exchange.candidate is None else QueueTimeout
            exchange.fail(error(f"no {waits_for} became free in time"))
        elif phase is _BODY and not (self._is_upstream_blocked or exchange.awaits_continue):
            exchange.fail(BodyTimeout("body stood still"))
        else:
            exchange.upstream_failed(UpstreamTimeout("no byte of the answer in time"))

    def rest(self, now: float) -> None:
        """Let go of what only a busy connection has use for; called by the sweep."""
        if self._last_head is None or self.exchange is not None:
            return
        if now > self._idle_deadline - self.runtime.timeouts.keepalive + REST_AFTER_S:
            self._last_head = None
            self._last_block = b""
            self.log_prefix = None

    def drain(self, now: float) -> None:
        """End the connection if no request is on it and none is likely to be on its way.

        Whoever sent a request just when the connection is closed does not know whether it was served. The answer to
        the next request says that it is the last; only a client that has nothing to ask for a while is cut off.
        """
        if self._is_idle() and now - self._idle_since() >= DRAIN_IDLE_S:
            self._close()

    def reconfigured(self, old: Timeouts, new: Timeouts) -> None:
        """Go by another configuration: an idle connection stays as long as the new one says."""
        self._last_head, self._last_block = None, b""  # Read under other limits.
        if self._is_idle():
            change = new.keepalive - old.keepalive if self.requests else new.client_header - old.client_header
            self._idle_deadline += change
            self.deadline += change

    def _is_idle(self) -> bool:
        return self.phase is _HEAD and not self._buffer and self.exchange is None and not self.is_write_blocked

    def _idle_since(self) -> float:
        timeouts = self.runtime.timeouts
        return self.deadline - (timeouts.keepalive if self.requests else timeouts.client_header)

    # --- what limits ask for ---

    @property
    def awaits_body(self) -> bool:
        """Tell whether it is the client's next piece of a body that is waited for."""
        exchange = self.exchange
        return (
            self.phase is _BODY
            and exchange is not None
            and not (self._is_upstream_blocked or exchange.is_queued or exchange.awaits_continue)
        )

    def spare_rank(self, now: float) -> tuple[int, float] | None:
        """Return how well others can do without this connection (lowest first), and since when; None: not at all.

        First go handshakes that do not get on, then those that never asked for anything, then heads that do not end,
        then those that wait for their next request. Whoever did anything within the last second stays.
        """
        phase, timeouts = self.phase, self.runtime.timeouts
        if phase is _HANDSHAKE or phase is _PROXY_HEADER:
            rank, since = 0, self.accepted_at
        elif phase is not _HEAD or self.exchange is not None:
            return None
        elif self._buffer:
            rank, since = 2, self.deadline - timeouts.client_header
        elif not self.requests:
            rank, since = 1, self.accepted_at
        else:
            rank, since = 3, self._idle_deadline - timeouts.keepalive
        return (rank, since) if now - since >= SPARED_S else None

    def make_room(self) -> None:
        """End for the sake of others."""
        if self.phase is _HEAD and not self._buffer:
            self._close()
        else:
            self._abort()

    # --- the ledger ---

    def _take_back(self, unsent: int, exchange: Exchange | None) -> None:
        """Take HTTP bytes that never arrived out of the last answer, be it under way or over."""
        if exchange is not None:
            share = min(unsent, exchange.billed_out)
            exchange.take_back(share)
            unsent -= share
        if unsent and self.last_ledger is not None:
            self.last_ledger.take_back(unsent)
