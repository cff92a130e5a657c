"""The desync guard: h11's second opinion on heads that llhttp accepted.

Owns:      the comparison, the sampling, and the counts of both.
Elsewhere: the first opinion (request.py).
Pure:      sampling is by count, so a test knows which head is read twice.
"""

from __future__ import annotations

from typing import Literal

import h11

from clb.errors import AmbiguousRequest
from clb.http1.request import CHUNKED, RequestHead

SAMPLE = 1024
"""In `monitor`, one head in this many is read twice."""

GuardMode = Literal["off", "monitor", "enforce"]


class DesyncGuard:
    """One listener's guard."""

    def __init__(self, mode: GuardMode, header_bytes: int) -> None:
        self.interval = {"off": 0, "monitor": SAMPLE, "enforce": 1}[mode]
        """Every how many heads the data path must call `check`; 0 = never."""
        self._enforces = mode == "enforce"
        self._header_bytes = header_bytes
        self.checked = 0
        self.disagreements = 0

    def check(self, head: bytes, request: RequestHead) -> None:
        """Compare both readings of `head`.

        Raises:
            AmbiguousRequest: they differ, and the mode is `enforce`.
        """
        self.checked += 1
        difference = _difference(head, request, self._header_bytes)
        if difference:
            self.disagreements += 1
            if self._enforces:
                raise AmbiguousRequest(difference)


def _difference(head: bytes, request: RequestHead, header_bytes: int) -> str:
    """Say what h11 reads differently; empty when nothing."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=header_bytes + 1)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return f"h11 refuses it: {error}"
    if not isinstance(event, h11.Request):
        return "h11 finds no complete head"
    fields = dict(event.headers)
    length = CHUNKED if b"transfer-encoding" in fields else int(fields.get(b"content-length", b"0"))
    readings = (
        ("method", event.method, request.method),
        ("target", event.target, head.split(b" ", 2)[1]),
        ("version", event.http_version, b"1.%d" % request.minor_version),
        ("framing", length, request.content_length),
        ("host", _host_named(event, fields), request.host_field),
    )
    return "; ".join(f"{what} differs" for what, second, first in readings if second != first)


def _host_named(event: h11.Request, fields: dict[bytes, bytes]) -> bytes:
    """Return the authority of an absolute target, or the Host field (RFC 9112 section 3.2.2)."""
    scheme, separator, rest = event.target.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        for delimiter in (b"/", b"?"):
            rest = rest.split(delimiter, 1)[0]
        return rest
    return fields.get(b"host", b"")
