"""Find where a head ends, within bounds, and refuse early what can never become one.

Owns:      the bounds on heads that are still incomplete.
Elsewhere: reading a complete head (request.py, response.py).
Pure:      the verdict on a head is the same whether it came whole or byte by byte.
"""

from __future__ import annotations

import re

from clb.errors import BadHeader, BadResponse, HeadTooLarge, TargetTooLong
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
    if 0 <= end <= header_bytes - 4 and line_end >= 0:
        if line_end > uri_bytes and any(len(part) > uri_bytes for part in buffer[:line_end].split(b" ")):
            raise TargetTooLong(f"target over {uri_bytes} bytes")
        return end + 4
    _refuse_early(buffer[:header_bytes], line_end, uri_bytes)
    if len(buffer) >= header_bytes:
        raise HeadTooLarge(f"head over {header_bytes} bytes")
    return 0


def _refuse_early(buffer: bytes, line_end: int, uri_bytes: int) -> None:
    bare_lf = _BARE_LF.search(buffer)
    if bare_lf is not None:
        # Nothing behind it can mend it, and waiting would end in a time-out instead of the reason. What is
        # wrong first is for the reader to say, as it would of the whole head.
        read_request_head(buffer[: bare_lf.end()] + b"\r\n\r\n", len(buffer))
        raise BadHeader("bare LF")
    if line_end < 0 and len(buffer) > uri_bytes + REQUEST_LINE_ALLOWANCE:
        raise TargetTooLong(f"request line over {uri_bytes + REQUEST_LINE_ALLOWANCE} bytes")


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
    if _BARE_LF.search(buffer) is not None:
        raise BadResponse("bare LF in the head")
    return 0
