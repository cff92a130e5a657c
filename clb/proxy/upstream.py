"""One connection to a real server, plain HTTP/1.1, used for one exchange after another.

Owns:      the transport, reading answers and their framing, whether the connection may be used again.
Elsewhere: whom it is lent to (pool.py); what the client gets (exchange.py).

All connections of a worker read into one buffer: the loop fills it and calls back before it reads for anyone else.
What must outlive the callback is copied; the TLS engine copies by itself, so a body of known length goes from
here into records without another copy and without a parser.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

from clb.errors import BadResponse, ClbError, UpstreamClosed
from clb.http1.chunked import ChunkedDecoder
from clb.http1.head_end import response_head_end
from clb.http1.response import UNTIL_CLOSE, ResponseHead, read_response_head
from clb.proxy.tcp import read_rest, set_write_marks

if TYPE_CHECKING:
    from clb.proxy.exchange import Exchange
    from clb.proxy.pool import TargetPool

READ_BUFFER_BYTES = 64 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
TRAILER_LIMIT_BYTES = 16 * 1024
REPEATED_HEAD_LIMIT_BYTES = 1024
"""The largest answer head that is kept to be compared with the connection's next one."""

_read_buffer = memoryview(bytearray(READ_BUFFER_BYTES))


class _Phase(Enum):
    IDLE = 0
    HEAD = 1
    LENGTH = 2
    CHUNKED = 3
    UNTIL_CLOSE = 4
    """Also an upgraded connection's bytes."""
    CLOSED = 5


_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _CLOSED = _Phase


class Upstream(asyncio.BufferedProtocol):
    """One connection to one target."""

    def __init__(self, pool: TargetPool) -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)  # valid from connection_made on
        self.requests = 0
        self.idle_since = 0.0
        self.is_unanswered = True
        """No byte has come for the current request."""
        self.is_usable = True
        """Another request may be sent."""
        self.is_read_paused = False
        self.is_write_blocked = False
        self._phase = _IDLE
        self._method = b""
        self._pending = b""
        self._last_head = b""
        """The last plain answer's head that was small, and what was read from it."""
        self._last_response: ResponseHead | None = None
        self._remaining = 0
        self._keep_alive = True
        self._decoder: ChunkedDecoder | None = None

    def begin(self, exchange: Exchange, method: bytes, head: bytes) -> None:
        """Send a request head and expect its answer."""
        self.exchange = exchange
        self.requests += 1
        self.is_usable = False
        self._phase = _HEAD
        self._method = method
        self.is_unanswered = True
        self.transport.write(head)

    def pause_reading(self) -> None:
        """Read no more of the answer: the client does not keep up."""
        self.is_read_paused = True
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on; also before the connection is lent again, since its last answer may have been the one too many."""
        if self.is_read_paused:
            self.is_read_paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Give the connection up; the exchange, if any, hears nothing more."""
        self.exchange = None
        self.is_usable = False
        self._phase = _CLOSED
        self.transport.abort()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]
        set_write_marks(self.transport)
        self.pool.adopt(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the worker's buffer for the read that follows."""
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        exchange = self.exchange
        if exchange is None:
            self.close()  # Bytes that no request asked for: whatever they are, not the next answer.
            return
        if self._phase is _LENGTH:
            if nbytes <= self._remaining:
                self._remaining -= nbytes
                exchange.answer_data(_read_buffer[:nbytes])
                if not self._remaining:
                    self._complete()
            else:
                remaining, self._remaining, self._keep_alive = self._remaining, 0, False
                exchange.answer_data(_read_buffer[:remaining])
                self._complete()
        elif self._phase is _HEAD:
            self.is_unanswered = False
            data = bytes(_read_buffer[:nbytes])
            last = self._last_response
            if last is not None and data.startswith(self._last_head) and not self._pending and self._method != b"HEAD":
                # Real servers repeat their heads too, most often within the second that Date stays the same.
                self._begin_body(last, data[len(self._last_head) :], exchange)
                return
            self._read_head(self._pending + data if self._pending else data, exchange)
        elif self._phase is _CHUNKED:
            self._read_chunked(bytes(_read_buffer[:nbytes]), exchange)
        elif self._phase is _UNTIL_CLOSE:
            exchange.answer_data(_read_buffer[:nbytes])

    def eof_received(self) -> bool:
        """Take the real server's end of stream; the transport closes itself."""
        exchange = self.exchange
        if exchange is not None and self._phase is _UNTIL_CLOSE:
            self._keep_alive = False
            self._complete()
        self.is_usable = False
        self._phase = _CLOSED
        # What is still to be written would hold the connection for as long as the real server does not read it.
        self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the pool, and the exchange if one was waiting."""
        if exc is not None and self.exchange is not None:
            self._read_rest(self.exchange)
        self.is_usable = False
        self._phase = _CLOSED
        self.pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.upstream_failed(UpstreamClosed(f"{exc or 'end of stream'} before the answer was complete"))

    def _read_rest(self, exchange: Exchange) -> None:
        """Take an answer that came before the reset.

        A real server that refuses a body answers and closes; clb, still writing, is told of the reset first.
        """
        while self.exchange is exchange and not self.is_read_paused:
            nbytes = read_rest(self.transport, _read_buffer)
            if not nbytes:
                return
            exchange.connection.upstream_is_blocked(True)  # It takes nothing any more, so it is not lent again.
            self.buffer_updated(nbytes)

    def pause_writing(self) -> None:
        """The real server takes no more for now: stop reading from the client."""
        self.is_write_blocked = True
        if self.exchange is not None:
            self.exchange.connection.upstream_is_blocked(True)

    def resume_writing(self) -> None:
        """The real server takes bytes again."""
        self.is_write_blocked = False
        if self.exchange is not None:
            self.exchange.connection.upstream_is_blocked(False)

    # --- answers ---

    def _read_head(self, data: bytes, exchange: Exchange) -> None:
        try:
            while True:
                end = response_head_end(data, HEAD_LIMIT_BYTES)
                if not end:
                    self._pending = data
                    return
                head = data if end == len(data) else data[:end]
                response = read_response_head(head, self._method)
                data = data[end:]
                if response.idle_timeout_s:
                    self.pool.kept.limit.announced(response.idle_timeout_s)
                if response.is_plain and end <= REPEATED_HEAD_LIMIT_BYTES:
                    self._last_head, self._last_response = head, response
                if response.status >= 200 or response.is_upgrade:
                    break
                exchange.interim_answer(response)
            self._pending = b""
            self._begin_body(response, data, exchange)
        except ClbError as error:
            self._fail(error, exchange)

    def _begin_body(self, response: ResponseHead, data: bytes, exchange: Exchange) -> None:
        self._keep_alive = response.keep_alive
        length = response.content_length
        if length >= 0 and not response.is_upgrade:
            if len(data) > length:
                data, self._keep_alive = data[:length], False
            if len(data) == length:
                self.exchange = None
                self.is_usable = self._keep_alive
                self._phase = _IDLE if self._keep_alive else _CLOSED
                exchange.answer_whole(response, data, self._keep_alive)
                return
            self._remaining = length - len(data)
            self._phase = _LENGTH
            exchange.answer(response, data)
        elif response.is_upgrade:
            if not exchange.request.upgrade:
                raise BadResponse("101 that no one asked for")
            self._phase = _UNTIL_CLOSE
            exchange.answer(response, data)
        elif length == UNTIL_CLOSE:
            self._phase = _UNTIL_CLOSE
            exchange.answer(response, data)
        else:
            self._phase = _CHUNKED
            self._decoder = ChunkedDecoder(BadResponse, TRAILER_LIMIT_BYTES)
            exchange.answer(response, b"", holds_head=bool(data))
            if data and self.exchange is exchange:  # Else another real server answers instead.
                self._read_chunked(data, exchange)

    def _read_chunked(self, data: bytes, exchange: Exchange) -> None:
        decoder = self._decoder
        assert decoder is not None  # set with the phase
        try:
            pieces = decoder.feed(data)
        except ClbError as error:
            self._fail(error, exchange)
            return
        exchange.answer_pieces(pieces, decoder.trailer_lines if decoder.is_complete else None)
        if decoder.is_complete:
            if decoder.leftover:
                self._keep_alive = False
            self._complete()

    def _complete(self) -> None:
        """Hand the connection back and let the exchange end; it may be closed by either."""
        exchange, self.exchange = self.exchange, None
        self.is_usable = self._keep_alive
        self._phase = _IDLE if self._keep_alive else _CLOSED
        if exchange is not None:
            exchange.answer_complete(self._keep_alive)

    def _fail(self, error: ClbError, exchange: Exchange) -> None:
        self.close()
        exchange.upstream_failed(error)
