"""Messages through clb's readers in slices, and through h11 and llhttp as second opinions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from clb.http1.chunked import ChunkedDecoder
from clb.http1.head_end import request_head_end, response_head_end
from clb.http1.request import CHUNKED, RequestHead, read_request_head
from clb.http1.response import ResponseHead, read_response_head

WHOLE = 1 << 20
SLICES = (1, 2, WHOLE)
HEADER_BYTES, URI_BYTES, MAX_FIELDS = 64 * 1024, 8 * 1024, 100
MARKER = b"GET /marker HTTP/1.1\r\nHost: marker\r\n\r\n"
"""A request put behind a message: who reads the message to another end does not find it."""


def pieces_of(data: bytes, slice_size: int) -> list[bytes]:
    return [data[start : start + slice_size] for start in range(0, len(data), slice_size)]


# --- clb ---


def read_request(
    wire: bytes,
    slice_size: int = WHOLE,
    *,
    header_bytes: int = HEADER_BYTES,
    uri_bytes: int = URI_BYTES,
    max_fields: int = MAX_FIELDS,
) -> RequestHead | None:
    """Read the first head of `wire` as the data path does; None while it is incomplete."""
    buffer = b""
    for piece in pieces_of(wire, slice_size):
        buffer += piece
        end = request_head_end(buffer, header_bytes, uri_bytes)
        if end:
            return read_request_head(buffer[:end], max_fields)
    return None


def read_response(
    wire: bytes, method: bytes = b"GET", slice_size: int = WHOLE, *, header_bytes: int = HEADER_BYTES
) -> ResponseHead | None:
    """Read the first response head of `wire` as the data path does; None while it is incomplete."""
    buffer = b""
    for piece in pieces_of(wire, slice_size):
        buffer += piece
        end = response_head_end(buffer, header_bytes)
        if end:
            return read_response_head(buffer[:end], method)
    return None


def decode_chunks(decoder: ChunkedDecoder, wire: bytes, slice_size: int = WHOLE) -> tuple[bytes, bytes]:
    """Return the body and what lies behind it."""
    body, rest = b"", wire
    while rest and not decoder.is_complete:
        piece, rest = rest[:slice_size], rest[slice_size:]
        body += b"".join(decoder.feed(piece))
    return body, decoder.leftover + rest


def facts(head: RequestHead | ResponseHead) -> dict[str, Any]:
    """Return all that was read, defaults included, so that two readings can be compared."""
    names = [name for name in type(head).__annotations__ if hasattr(head, name)]
    return {name: getattr(head, name) for name in names}


def forwarded_head(request: RequestHead) -> bytes:
    """Return the head that a real server gets, but for the fields that clb adds (proxy/exchange.py)."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.target, request.lines)


def body_for(request: RequestHead) -> bytes:
    """Return a body of the framing that was read, made to be taken for requests by whom it misleads."""
    filler = MARKER * 2
    if request.content_length == CHUNKED:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(filler), filler)
    length = min(request.content_length, 1 << 16)
    return (filler * (length // len(filler) + 1))[:length]


# --- others ---


@dataclass
class Message:
    """What another reader found."""

    method: bytes = b""
    target: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    is_complete: bool = False

    def values(self, lower_name: bytes) -> list[bytes]:
        return [value for name, value in self.fields if name.lower() == lower_name]


class Disagreement(Exception):
    """The other reader refuses what clb would send."""


def h11_requests(wire: bytes) -> list[Message]:
    """Read every request of a connection with h11, which is led past answers."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=WHOLE)
    connection.receive_data(wire)
    found: list[Message] = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                found.append(Message(event.method, event.target, list(event.headers)))
            elif isinstance(event, h11.Data):
                found[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found[-1].is_complete = True
                connection.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
                    connection.start_next_cycle()
            elif event is h11.PAUSED:
                # An upgrade that was offered and not taken: go on in HTTP.
                if connection.their_state is h11.MIGHT_SWITCH_PROTOCOL:
                    found[-1].is_complete = True
                    connection.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
                    connection.send(h11.EndOfMessage())
                    connection.start_next_cycle()
                    continue
                return found
            else:
                return found
    except h11.RemoteProtocolError as error:
        raise Disagreement(f"h11: {error}") from error


class _Collector:
    def __init__(self) -> None:
        self.found: list[Message] = []
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.found.append(Message())

    def on_url(self, part: bytes) -> None:
        self.found[-1].target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found[-1].fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.found[-1].method = self.parser.get_method()

    def on_body(self, part: bytes) -> None:
        self.found[-1].body += part

    def on_message_complete(self) -> None:
        self.found[-1].is_complete = True


def llhttp_requests(wire: bytes) -> list[Message]:
    """Read every request with a fresh llhttp parser, as a real server on it would."""
    found: list[Message] = []
    while wire:
        collector = _Collector()
        rest = b""
        try:
            collector.parser.feed_data(wire)
        except httptools.HttpParserUpgrade as error:
            rest = wire[error.args[0] :]
        except httptools.HttpParserError as error:
            raise Disagreement(f"llhttp: {error}") from error
        found += collector.found
        wire = rest
    return found
