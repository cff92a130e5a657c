"""Find where a head ends, within bounds, and refuse early what can never become one.

Owns:      the bounds on heads that are still incomplete.
Elsewhere: reading a complete head (request.py, response.py).
Pure:      the verdict on a head is the same whether it came whole or byte by byte.
"""

from __future__ import annotations

import re

from clb.errors import BadHeader, BadRequestLine, BadResponse, HeadTooLarge, TargetTooLong
from clb.http1.request import read_request_head

REQUEST_LINE_ALLOWANCE = 32
"""Bytes of a request line beside its target: method, two spaces and version."""

_BARE_LF = re.compile(rb"(?<!\r)\n")


def request_head_end(buffer: bytes, header_bytes: int, uri_bytes: int) -> int:
    """Return the length of the complete head at the start of `buffer`, or 0 while it is incomplete.

    Raises:
        BadRequest: what is there can no longer become a head that would be accepted.
    """
    end = buffer.find(b"\r\n\r\n")
    line_end = buffer.find(b"\r\n", 0, uri_bytes + REQUEST_LINE_ALLOWANCE + 2)
    is_complete = 0 <= end <= header_bytes - 4
    if is_complete and 0 <= line_end <= uri_bytes:
        return end + 4
    within = buffer[:header_bytes]
    _check_request_line(within, uri_bytes)
    if is_complete:
        return end + 4
    if _has_bare_lf(within):
        _refuse_bare_lf(within)
    if len(buffer) >= header_bytes:
        raise HeadTooLarge(f"head over {header_bytes} bytes")
    return 0


def _check_request_line(buffer: bytes, uri_bytes: int) -> None:
    longest = uri_bytes + REQUEST_LINE_ALLOWANCE
    line, separator, _ = buffer[: longest + 2].partition(b"\r\n")
    if b"\n" in line:
        raise BadRequestLine("bare LF in the request line")
    # A CR at the end may be the first half of the separator.
    if len(line) > longest + 1 or (separator and any(len(part) > uri_bytes for part in line.split(b" "))):
        raise TargetTooLong(f"target over {uri_bytes} bytes, or request line over {longest}")


def _has_bare_lf(buffer: bytes) -> bool:
    # Counts cost a fraction of a search, and this is asked again for every piece of a head that comes slowly.
    return buffer.count(b"\n") != buffer.count(b"\r\n")


def _refuse_bare_lf(buffer: bytes) -> None:
    """Refuse at once what nothing behind it can mend: waiting would end in a time-out instead of the reason."""
    bare_lf = _BARE_LF.search(buffer)
    assert bare_lf is not None  # the counts differ
    # What is wrong first is for the reader to say, as it would of the whole head.
    read_request_head(buffer[: bare_lf.end()] + b"\r\n\r\n", len(buffer))
    raise BadHeader("bare LF")


def response_head_end(buffer: bytes, header_bytes: int) -> int:
    """Return the length of the complete head at the start of `buffer`, or 0 while it is incomplete.

    Raises:
        BadResponse: the head is over its bound or holds a bare LF.
    """
    end = buffer.find(b"\r\n\r\n")
    if 0 <= end <= header_bytes - 4:
        return end + 4
    if len(buffer) >= header_bytes:
        raise BadResponse(f"head over {header_bytes} bytes")
    if _has_bare_lf(buffer):
        raise BadResponse("bare LF in the head")
    return 0
