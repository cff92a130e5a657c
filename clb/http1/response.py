"""Read one response head from a real server and make the one the client gets.

Owns:      status line, framing and Connection of a response (RFC 9112 sections 4, 6.3, 9.3).
Elsewhere: grammar of the field lines (llhttp.py), chunked bodies (chunked.py), which fields clb adds (proxy/).
Pure:      same head and method, same answer or BadResponse.
"""

from __future__ import annotations

import re

import httptools

from clb.errors import BadResponse
from clb.http1.fields import ORDINARY_IN_RESPONSE, is_special_in_response, list_members, serialise
from clb.http1.llhttp import HeadReader, response_verdict
from clb.http1.request import CHUNKED

UNTIL_CLOSE = -2
"""`content_length` of a response that ends with its connection."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t \x21-\x7e\x80-\xff]*))?")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_IDLE_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout=([0-9]{1,5})(?:$|[,;\s])", re.IGNORECASE)
_MEMO_LIMIT = 256
_MEMO_LINE_LIMIT = 64


class ResponseHead:
    """One response head; class attributes are the values of the plain case."""

    status: int
    status_line: bytes
    """`HTTP/1.1 NNN reason` and CRLF, for the client."""
    lines: bytes
    """Field lines that travel on, framing not among them unless it is Content-Length."""
    is_plain: bool = False
    """A final answer of known length whose connection goes on, with nothing to change in its fields."""
    minor_version: int = 1
    content_length: int = UNTIL_CLOSE
    """Body bytes, CHUNKED or UNTIL_CLOSE; 0 where the method or status says that no body follows."""
    keep_alive: bool = True
    is_upgrade: bool = False
    idle_timeout_s: int = 0
    """How long the real server says that it keeps an idle connection (`Keep-Alive: timeout=N`); 0 = it does not say."""


_reader: HeadReader[httptools.HttpResponseParser] = HeadReader(httptools.HttpResponseParser, response_verdict)
_status_lines: dict[bytes, tuple[int, int, bytes]] = {}


def read_response_head(head: bytes, method: bytes) -> ResponseHead:
    """Read a complete response head that answers a request made with `method`.

    Raises:
        BadResponse: it breaks a rule; its connection must not be used again.
    """
    response = ResponseHead()
    line_end = head.find(b"\r\n")
    status, minor_version, response.status_line = _read_status_line(head[:line_end])
    response.status = status
    fields = _reader.fields_by_name(head)
    _reader.renew()
    plain = (
        minor_version
        and head.count(b"\n") - 2 == len(fields)
        and status >= 200
        and status not in (204, 304)
        and method != b"HEAD"
        and ORDINARY_IN_RESPONSE.clears(fields)
    )
    if plain:
        length = fields.get(b"Content-Length", b"")
        connection = fields.get(b"Connection")
        if _DIGITS.fullmatch(length) and connection in (None, b"keep-alive", b"Keep-Alive"):
            response.is_plain = True
            response.content_length = int(length)
            response.lines = head[line_end + 2 : -2]
            if connection is not None:
                start = head.find(b"\r\nConnection:", line_end)
                end = head.find(b"\r\n", start + 13)
                response.lines = head[line_end + 2 : start + 2] + head[end + 2 : -2]
            return response
    response.minor_version = minor_version
    _interpret(response, _reader.fields_in_order(head), method)
    return response


def _read_status_line(line: bytes) -> tuple[int, int, bytes]:
    """Return status, minor version and the line for the client; lines met before come from a bounded memo."""
    known = _status_lines.get(line)
    if known is not None:
        return known
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadResponse(f"status line {line[:64]!r}, expected `HTTP/1.x NNN reason`")
    minor_version, status, reason = match.groups(b"")
    known = (int(status), int(minor_version), b"HTTP/1.1 %b %b\r\n" % (status, reason))
    if len(_status_lines) < _MEMO_LIMIT and len(line) <= _MEMO_LINE_LIMIT:
        _status_lines[line] = known
    return known


def _interpret(response: ResponseHead, fields: list[tuple[bytes, bytes]], method: bytes) -> None:
    """Sort the fields of a head that is not the plain case."""
    kept: list[tuple[bytes, bytes]] = []
    special: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        lower = name.lower()
        if is_special_in_response(lower):
            special.setdefault(lower, []).append(value)
        else:
            kept.append((name, value))
    connection = set(list_members(b",".join(special.get(b"connection", ()))))
    response.keep_alive = b"close" not in connection and (bool(response.minor_version) or b"keep-alive" in connection)
    if b"keep-alive" in special and (announced := _IDLE_TIMEOUT.search(b",".join(special[b"keep-alive"]))):
        response.idle_timeout_s = int(announced[1])
    own = _read_framing(response, special, method)
    if response.status == 101:
        own += _read_upgrade(response, connection, special.get(b"upgrade", []))
    response.lines = serialise(own + [field for field in kept if field[0].lower() not in connection])


def _read_framing(
    response: ResponseHead, special: dict[bytes, list[bytes]], method: bytes
) -> list[tuple[bytes, bytes]]:
    """Decide where the body ends (RFC 9112 section 6.3) and return the length field that the client gets."""
    codings, lengths = special.get(b"transfer-encoding"), special.get(b"content-length")
    length_field: list[tuple[bytes, bytes]] = []
    if codings is not None:
        is_chunked = len(codings) == 1 and codings[0].strip(b" \t").lower() == b"chunked"
        if lengths is not None or not response.minor_version or not is_chunked:
            raise BadResponse("Transfer-Encoding that is not exactly chunked, or not alone, or in HTTP/1.0")
        response.content_length = CHUNKED
    elif lengths is not None:
        if len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0]):
            raise BadResponse("Content-Length is not one number")
        response.content_length = int(lengths[0])
        length_field = [(b"Content-Length", b"%d" % response.content_length)]
    status = response.status
    if status < 200 or status == 204:
        # Neither field may stand in these (RFC 9110 section 8.6); a real server that sends one means nothing.
        response.content_length = 0
        return []
    if method == b"HEAD" or status == 304:
        response.content_length = 0
    return length_field


def _read_upgrade(response: ResponseHead, connection: set[bytes], upgrades: list[bytes]) -> list[tuple[bytes, bytes]]:
    if b"upgrade" not in connection or [value.lower() for value in upgrades] != [b"websocket"]:
        raise BadResponse("101 without `Upgrade: websocket`")
    response.is_upgrade = True
    return [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
