"""Chunked bodies (RFC 9112 section 7.1): read strictly, written anew.

Owns:      chunk sizes, extensions (read and dropped), trailers, and the bounds on all three.
Elsewhere: bodies of known length, which no parser sees (proxy/exchange.py).
Pure:      same bytes, same pieces in sum, however they are cut.

llhttp is not used here: it runs on into the next message of the same read and does not say where it did.
"""

from __future__ import annotations

import re

import httptools

from clb.errors import BadRequest, ClbError
from clb.http1.fields import FRAMING, is_special_in_request, serialise
from clb.http1.llhttp import HeadReader, request_verdict

LAST_CHUNK = b"0\r\n\r\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
# At most 10 bytes of framing for each of the body: never near the bound on framing.
_match_plain_size = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").match
_SIZE_LINE_LIMIT = 4096
# A body made of the smallest chunks carries 5 framing bytes for each of its own; what stays above this line
# for long is an attack by extensions, not a body.
_FRAMING_ALLOWANCE = 16 * 1024
_FRAMING_PER_BODY_BYTE = 16

_reader: HeadReader[httptools.HttpRequestParser] = HeadReader(httptools.HttpRequestParser, request_verdict)


def encode_chunk(data: bytes) -> bytes:
    """Write one chunk; `data` must not be empty, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailer_lines: bytes) -> bytes:
    """Write the end of a chunked body with its trailer field lines, each ended by CRLF."""
    return b"0\r\n%b\r\n" % trailer_lines


class ChunkedDecoder:
    """Takes a chunked body apart, fed in any pieces."""

    __slots__ = (
        "_error",
        "_framing_bytes",
        "_in_trailers",
        "_needs_data_end",
        "_pending",
        "_remaining",
        "_trailer_limit",
        "body_bytes",
        "is_complete",
        "leftover",
        "trailer_lines",
    )

    def __init__(self, error: type[ClbError], trailer_limit: int) -> None:
        self._error = error
        self._trailer_limit = trailer_limit
        self._pending = b""
        self._remaining = 0
        self._needs_data_end = False
        self._in_trailers = False
        self._framing_bytes = 0
        self.body_bytes = 0
        self.is_complete = False
        self.leftover = b""
        """Bytes behind the end of the body; valid when `is_complete`."""
        self.trailer_lines = b""
        """Trailer fields that may travel on, as lines; valid when `is_complete`."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of the body in `data`.

        Raises:
            ClbError: the class given at the start, when a rule is broken.
        """
        if self._pending:
            data, self._pending = self._pending + data, b""
        pieces: list[bytes] = []
        position, end = 0, len(data)
        while position < end and not self.is_complete:
            if not (self._remaining or self._needs_data_end or self._in_trailers):
                # The usual chunk, complete and without extensions, in one step.
                match = _match_plain_size(data, position)
                if match is not None and (size := int(match[1], 16)):
                    start = match.end()
                    if data[start + size : start + size + 2] == b"\r\n":
                        pieces.append(data[start : start + size])
                        self.body_bytes += size
                        self._framing_bytes += start - position
                        position = start + size + 2
                        continue
            if self._remaining:
                piece = data[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._take(len(piece))
                continue
            step = self._step(data, position)
            if not step:
                self._pending = data[position:]
                break
            position += step
        if self.is_complete:
            self.leftover = data[position:]
        return pieces

    def _take(self, count: int) -> None:
        self.body_bytes += count
        self._remaining -= count
        self._needs_data_end = not self._remaining

    def _step(self, data: bytes, position: int) -> int:
        """Read one element of framing; return its length, or 0 while it is incomplete."""
        if self._needs_data_end:
            return self._read_data_end(data, position)
        step = self._read_trailers(data, position) if self._in_trailers else self._read_size(data, position)
        self._framing_bytes += step
        # With what the size has just announced: as the usual chunk counts it, which is never refused.
        if self._framing_bytes > _FRAMING_ALLOWANCE + _FRAMING_PER_BODY_BYTE * (self.body_bytes + self._remaining):
            raise self._error("more chunk framing than body")
        return step

    def _read_data_end(self, data: bytes, position: int) -> int:
        line_end = data[position : position + 2]
        if line_end == b"\r\n":
            self._needs_data_end = False
            return 2
        if line_end != b"\r":
            raise self._error("no CRLF behind the data of a chunk")
        return 0

    def _read_size(self, data: bytes, position: int) -> int:
        line_end = data.find(b"\r\n", position, position + _SIZE_LINE_LIMIT)
        if line_end < 0:
            self._refuse_incomplete(data, position, _SIZE_LINE_LIMIT)
            return 0
        match = _SIZE_LINE.fullmatch(data, position, line_end)
        if match is None:
            raise self._error("chunk size line outside the grammar")
        self._remaining = int(match[1], 16)
        self._in_trailers = not self._remaining
        return line_end + 2 - position

    def _read_trailers(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.is_complete = True
            return 2
        end = data.find(b"\r\n\r\n", position, position + self._trailer_limit)
        if end < 0:
            self._refuse_incomplete(data, position, self._trailer_limit)
            return 0
        self.trailer_lines = self._readable_trailers(data[position : end + 4])
        self.is_complete = True
        return end + 4 - position

    def _refuse_incomplete(self, data: bytes, position: int, limit: int) -> None:
        """Refuse an element that waiting can no longer complete, so that the reason is not a time-out."""
        if len(data) - position >= limit:
            raise self._error(f"chunk size line or trailers over {limit} bytes")
        # Counted, not searched line by line: this is asked again for every piece of trailers that come slowly.
        if data.count(b"\n", position) != data.count(b"\r\n", position):
            raise self._error("bare LF in chunk framing")

    def _readable_trailers(self, block: bytes) -> bytes:
        try:
            fields = _reader.fields_in_order(b"GET / HTTP/1.1\r\n" + block)
        except BadRequest as error:
            raise self._error(f"trailers: {error}") from error
        if any(name.lower() in FRAMING for name, _ in fields):
            raise self._error("a framing field among the trailers")
        # Host, reserved and hop-by-hop names would be read as if they had stood in the head.
        return serialise([field for field in fields if not is_special_in_request(field[0].lower())])
