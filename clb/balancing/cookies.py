"""Find one cookie in a request's Cookie field.

Owns:      where a cookie's value begins and ends (RFC 6265 section 5.4).
Elsewhere: sessions (stickiness.py); hashing (proxy/hash_key.py).
Pure:      bytes in, bytes out.
"""

from __future__ import annotations

_SEMICOLON, _SPACE = 0x3B, 0x20


def cookie_value(cookie_header: bytes, prefix: bytes) -> bytes | None:
    """The value of the first cookie whose name and `=` are `prefix`; several fields are joined by `; `."""
    start = cookie_header.find(prefix)
    while start > 0 and not _begins_a_pair(cookie_header, start):
        start = cookie_header.find(prefix, start + 1)
    if start < 0:
        return None
    return cookie_header[start + len(prefix) :].partition(b";")[0]


def _begins_a_pair(cookie_header: bytes, start: int) -> bool:
    """Whether the name at `start` > 0 is a whole one: `;` is before it, with or without a space."""
    before = cookie_header[start - 1]
    return before == _SEMICOLON or (before == _SPACE and start > 1 and cookie_header[start - 2] == _SEMICOLON)
