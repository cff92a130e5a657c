"""Give a path the one spelling that rules are matched against.

Owns:      unescaping, merging of slashes, `.` and `..` segments.
Elsewhere: the grammar of a raw target (http1/target.py); the path that is forwarded, which stays raw.
Pure:      same bytes, same answer.

Every escape of a byte that may stand in a path as itself is decoded, as the real server will do, so that
`/%61dmin` cannot pass by a rule for `/admin`. `%2F`, `%25` and bytes that a path cannot hold stay escaped,
in capitals: decoding those would change the segments, or the result of a second pass.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits

from clb.errors import BadTarget

_PERCENT, _DOT = 0x25, 0x2E

_sub_escapes = re.compile(rb"%(.{0,2})", re.DOTALL).sub
_merge_slashes = re.compile(rb"//+").sub

_SPELLED_PLAINLY = frozenset((ascii_letters + digits + "-._~!$&'()*+,;=:@[]").encode("ascii"))
"""RFC 3986 `pchar` without the escape itself, and the brackets that `split_target` lets through."""
_DECODED: dict[bytes, bytes] = {
    b"%02x" % byte: bytes([byte]) if byte in _SPELLED_PLAINLY else b"%%%02X" % byte for byte in range(1, 256)
}
"""Lower-case hex pair to what it becomes. `00` is not in it: a NUL ends the path in many a server."""


def normalise_path(raw: bytes) -> bytes:
    """Return the path to match; BadTarget for `%00`, a broken escape and a climb above the root.

    `raw` is the path of a target that passed `split_target`: it starts with `/` and has no query.
    """
    # `replace` is the cheapest search for two bytes in CPython 3.11, and most paths have no dot at all.
    if _PERCENT not in raw and raw.replace(b"//", b"/") == raw and (_DOT not in raw or raw.replace(b"/.", b"/") == raw):
        return raw
    path = _sub_escapes(_decode, raw) if _PERCENT in raw else raw
    path = _merge_slashes(b"/", path)
    return _resolve_dots(path) if b"/." in path else path


def _decode(match: re.Match[bytes]) -> bytes:
    decoded = _DECODED.get(match[1].lower())
    if decoded is None:
        raise BadTarget(f"escape that is no hex pair, or NUL: {match[0]!r}")
    return decoded


def _resolve_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, but `..` at the root is an error instead of being dropped."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise BadTarget("path climbs above the root")
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    # `/a/.` and `/a/b/..` name the directory, so the slash stays; an empty last segment carries its own.
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
