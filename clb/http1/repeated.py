"""Heads that clients send again and again, remembered over the connections of a listener.

Owns:      the bounded memo, and what may be in it.
Elsewhere: reading a head on top of a remembered one (request.py); one connection's memo (proxy/downstream.py).
Pure:      a remembered head gives what reading it again would give.

Only heads made of field names that carry no credentials are kept beyond their connection: a cookie or a token has no
business in memory after its request. What remains is enough for clients that connect anew for each request, such as
monitors, webhooks and command lines.
"""

from __future__ import annotations

from clb.http1.request import RequestHead

_LIMIT = 256
_BLOCK_LIMIT_BYTES = 1024

_NAMES = (
    b"Accept Accept-Charset Accept-Encoding Accept-Language Cache-Control Connection DNT Host If-Modified-Since "
    b"If-None-Match Origin Pragma Priority Range Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform Sec-Fetch-Dest "
    b"Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-Gpc Upgrade-Insecure-Requests User-Agent"
).split()
WITHOUT_CREDENTIALS = frozenset(_NAMES) | {name.lower() for name in _NAMES}


class RepeatedHeads:
    """Field lines of plain heads, from the end of the request line on, and what was read from them."""

    def __init__(self) -> None:
        self._heads: dict[bytes, RequestHead] = {}
        self.find = self._heads.get
        """Return the head that was remembered for a block of field lines, or None."""

    def remember(self, block: bytes, request: RequestHead) -> None:
        """Keep a plain head; begins anew when full, so that inventing heads costs a client time and clb no memory."""
        if len(block) > _BLOCK_LIMIT_BYTES or not WITHOUT_CREDENTIALS.issuperset(request.fields):
            return
        if len(self._heads) >= _LIMIT:
            self._heads.clear()
        self._heads[block] = request
