"""Spell one field of the access log: the model's brackets or a JSON member.

Owns:      escaping, quoting, what stands for an absent value.
Elsewhere: which fields there are (access_record.py); a whole line (access_line.py).
Pure:      bytes in, bytes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

MAX_VALUE_BYTES = 8192
"""Longer values are cut and end in `...`. A target of the default `limits.uri_bytes` is logged whole."""

# Control bytes, DEL, what is not ASCII, and what delimits a field or a JSON string.
_UNSAFE = frozenset([*range(0x20), *range(0x7F, 0x100), *b'"\\[]'])
# Turns each unsafe byte into a safe one, so that exactly the unsafe values change.
_MADE_SAFE = bytes(ord("?") if code in _UNSAFE else code for code in range(256))


def is_clean(value: bytes) -> bool:
    """True if `value` can stand in a line of either style as it is (but for being empty)."""
    return len(value) <= MAX_VALUE_BYTES and value.translate(_MADE_SAFE) == value


@dataclass(frozen=True)
class Style:
    """How a field is written. Two instances: TENCENT and JSON."""

    is_json: bool
    absent: bytes
    begin: bytes
    separator: bytes
    end: bytes
    _escapes: tuple[bytes, ...] = field(repr=False)

    def escape(self, value: bytes) -> bytes:
        if is_clean(value):
            return value or b"-"
        cut = value[:MAX_VALUE_BYTES]
        escaped = b"".join([self._escapes[code] for code in cut])
        return escaped if cut == value else escaped + b"..."

    def escape_name(self, name: str) -> bytes:
        """A name out of the configuration: in JSON it keeps its characters."""
        if self.is_json:
            return json.dumps(name or "-")[1:-1].replace("\x7f", "\\u007f").encode()
        return self.escape(name.encode("utf-8", "backslashreplace"))

    def open_text(self, name: str) -> bytes:
        return b'"%b":"' % name.encode() if self.is_json else b"["

    @property
    def close_text(self) -> bytes:
        return b'"' if self.is_json else b"]"

    def text(self, name: str, escaped: bytes) -> bytes:
        return self.open_text(name) + escaped + self.close_text

    def number(self, name: str, digits: bytes) -> bytes:
        return b'"%b":%b' % (name.encode(), digits) if self.is_json else b"[%b]" % digits

    def reused(self, name: str, value: bool | None) -> bytes:
        """nginx writes `r` and `.` for a session reused or not."""
        if value is None:
            return self.number(name, self.absent)
        words = (b"false", b"true") if self.is_json else (b".", b"r")
        return self.number(name, words[value])


def _escapes(pattern: bytes, unsafe: frozenset[int]) -> tuple[bytes, ...]:
    return tuple(pattern % code if code in unsafe else bytes([code]) for code in range(256))


TENCENT = Style(
    is_json=False, absent=b"-", begin=b"", separator=b" ", end=b"\n", _escapes=_escapes(rb"\x%02X", _UNSAFE)
)
JSON = Style(
    is_json=True,
    absent=b"null",
    begin=b"{",
    separator=b",",
    end=b"}\n",
    # Brackets are harmless between JSON's quotes.
    _escapes=_escapes(rb"\u%04x", _UNSAFE - frozenset(b"[]")),
)
