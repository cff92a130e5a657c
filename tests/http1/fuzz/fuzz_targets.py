"""What is fuzzed: bytes in; nothing but documented errors and what must hold of every message out.

A target takes the first bytes of its input to cut the rest into pieces, and returns a word for what became of it, by
which the engine without coverage tells whether it saw something new. Any exception that leaves it is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h11
from http1_lab import MAX_FIELDS, WHOLE, facts
from invariants import check_agreement, check_forwarded

from clb.errors import BadChunk, BadRequest, BadResponse
from clb.http1.chunked import ChunkedDecoder, encode_chunk
from clb.http1.guard import DesyncGuard
from clb.http1.head_end import request_head_end, response_head_end
from clb.http1.request import CHUNKED, RequestHead, read_request_head, repeat_request_head
from clb.http1.response import UNTIL_CLOSE, ResponseHead, read_response_head

HEADER_BYTES, URI_BYTES, TRAILER_BYTES = 2048, 512, 1024
CUTS = 3
"""Bytes of an input that say how the rest is cut."""


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut a message at places that its first bytes choose."""
    sizes, rest, turn = data[:CUTS], data[CUTS:], 0
    while rest:
        size = 1 + sizes[turn % CUTS] // 4
        yield rest[:size]
        rest = rest[size:]
        turn += 1


# --- requests: one behind the other on a connection, bodies between them ---


class Requests:
    """Reads requests as the data path does, and keeps what it found."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, RequestHead]] = []
        self.bodies: list[bytes] = []
        self.end = "incomplete"
        self._buffer = b""
        self._remaining = 0
        self._decoder: ChunkedDecoder | None = None

    def feed(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._buffer and self.end == "incomplete" and self._step():
                pass
        except BadRequest as error:
            self.end = type(error).__name__
            if self._decoder is not None:
                self.bodies[-1] = b""  # How much of it came out before the fault depends on the pieces.

    def _step(self) -> bool:
        if self._decoder is not None:
            data, self._buffer = self._buffer, b""
            self.bodies[-1] += b"".join(self._decoder.feed(data))
            if self._decoder.is_complete:
                self._buffer, self._decoder = self._decoder.leftover, None
            return True
        if self._remaining:
            piece, self._buffer = self._buffer[: self._remaining], self._buffer[self._remaining :]
            self._remaining -= len(piece)
            self.bodies[-1] += piece
            return True
        return self._read_head()

    def _read_head(self) -> bool:
        end = request_head_end(self._buffer, HEADER_BYTES, URI_BYTES)
        if not end:
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end:]
        request = read_request_head(head, MAX_FIELDS)
        self.found.append((head, request))
        self.bodies.append(b"")
        if request.content_length == CHUNKED:
            self._decoder = ChunkedDecoder(BadChunk, TRAILER_BYTES)
        else:
            self._remaining = request.content_length
        if request.upgrade or not request.keep_alive:
            self.end = "last"
        return True


def fuzz_requests(data: bytes) -> str:
    """Several requests of one connection."""
    whole, cut = Requests(), Requests()
    whole.feed(data[CUTS:])
    for piece in pieces(data):
        cut.feed(piece)
    assert [facts(request) for _, request in whole.found] == [facts(request) for _, request in cut.found]
    assert (whole.end, whole.bodies) == (cut.end, cut.bodies)
    guard = DesyncGuard("enforce", HEADER_BYTES)
    last: tuple[bytes, RequestHead] | None = None
    for head, request in whole.found:
        check_agreement(head, request)
        check_forwarded(head, request)
        guard.check(head, request)
        if last is not None and last[1].is_plain:
            _check_repeated(head, last)
        last = head, request
    return f"{len(whole.found)} {whole.end} {last[1].content_length if last else ''}"


def _check_repeated(head: bytes, last: tuple[bytes, RequestHead]) -> None:
    """A request line in front of the field lines of the head before."""
    line, block = head[: head.find(b"\r\n")], last[0][last[0].find(b"\r\n") :]
    again = repeat_request_head(line, last[1])
    assert again is None or facts(again) == facts(read_request_head(line + block, MAX_FIELDS))


# --- answers ---


def fuzz_responses(data: bytes) -> str:
    """One answer's head, to a method that its first byte chooses."""
    method = (b"GET", b"HEAD", b"POST")[data[0] % 3] if data else b"GET"
    whole = _read_answer(data[CUTS:], [data[CUTS:]], method)
    cut = _read_answer(data[CUTS:], list(pieces(data)), method)
    if isinstance(whole, str) or isinstance(cut, str):
        assert whole == cut
        return str(whole)
    assert facts(whole) == facts(cut)
    _check_answer(whole, method)
    return f"{whole.status} {whole.content_length} {whole.is_plain}"


def _read_answer(wire: bytes, parts: list[bytes], method: bytes) -> ResponseHead | str:
    buffer = b""
    try:
        for part in parts:
            buffer += part
            end = response_head_end(buffer, HEADER_BYTES)
            if end:
                return read_response_head(wire[:end], method)
    except BadResponse:
        return "BadResponse"
    return "incomplete"


def _check_answer(response: ResponseHead, method: bytes) -> None:
    """What the client gets is one answer of the same status, which ends where clb says."""
    lines, body = response.lines, b""
    if response.content_length == CHUNKED:
        lines, body = lines + b"Transfer-Encoding: chunked\r\n", encode_chunk(b"hello") + b"0\r\n\r\n"
    elif response.content_length == UNTIL_CLOSE:
        body = b"hello"
    elif 0 < response.content_length <= 1 << 16:
        body = b"h" * response.content_length
    client = h11.Connection(h11.CLIENT)
    upgrade = [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")] if response.is_upgrade else []
    client.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a"), *upgrade]))
    client.send(h11.EndOfMessage())
    client.receive_data(response.status_line + lines + b"\r\n" + body)
    event = client.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert event.status_code == response.status
    if response.status < 200 or response.content_length > 1 << 16:
        return
    if response.content_length == UNTIL_CLOSE:
        client.receive_data(b"")
    size = 0
    while isinstance(event := client.next_event(), h11.Data):
        size += len(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert size == (5 if response.content_length < 0 else response.content_length)
    assert client.trailing_data[0] == b""


# --- chunked bodies ---


def fuzz_chunks(data: bytes) -> str:
    """One chunked body and what lies behind it."""
    whole, cut = _decode([data[CUTS:]]), _decode(list(pieces(data)))
    assert whole[0] == cut[0], (whole, cut)
    if whole[0] != "refused":
        assert whole[1:] == cut[1:]
    if whole[0] == "complete":
        _check_body(data[CUTS:], whole[1], whole[2])
    return f"{whole[0]} {min(len(whole[1]), 3)} {bool(whole[3])}"


def _decode(parts: list[bytes]) -> tuple[str, bytes, bytes, bytes]:
    decoder, body, rest = ChunkedDecoder(BadChunk, TRAILER_BYTES), b"", b""
    try:
        for part in parts:
            if decoder.is_complete:
                rest += part
            else:
                body += b"".join(decoder.feed(part))
    except BadChunk:
        return "refused", body, b"", b""
    state = "complete" if decoder.is_complete else "incomplete"
    return state, body, decoder.leftover + rest, decoder.trailer_lines


def _check_body(wire: bytes, body: bytes, leftover: bytes) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=WHOLE)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    found = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        found += bytes(getattr(event, "data", b""))
    assert (found, connection.trailing_data[0]) == (body, leftover)


TARGETS: dict[str, Callable[[bytes], str]] = {
    "requests": fuzz_requests,
    "responses": fuzz_responses,
    "chunks": fuzz_chunks,
}
