"""Which header fields travel through a proxy, and which end, change or may not be trusted here.

Owns:      the classes of field names, on requests and on responses.
Elsewhere: what a special field means for one message (request.py, response.py); clb's own fields (proxy/forwarded.py).
Pure:      same name, same class; the memo of spellings is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
"""Fields that end at clb (RFC 9110 section 7.6.1). `Trailer` is not one of them."""

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Fields that clb reads and writes anew, so that no second reading can reach the next hop."""

RESERVED = frozenset(
    {
        b"client-cert",
        b"client-cert-chain",
        b"forwarded",
        b"via",
        b"x-client-proto",
        b"x-client-proto-ver",
        b"x-client-spdy",
        b"x-forwarded-for",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
        b"x-stgw-time",
    }
)
RESERVED_PREFIX = b"x-ssl-client-"
"""Names that only clb may put before a real server; what a client sends under them is taken out."""

_REQUEST_SPECIAL = HOP_BY_HOP | FRAMING | RESERVED | {b"host", b"expect"}
_RESPONSE_SPECIAL = HOP_BY_HOP | FRAMING
_MEMO_LIMIT = 2048
_NAME_LIMIT = 64


def is_reserved(lower_name: bytes) -> bool:
    """Tell whether only clb may send this field to a real server.

    An underscore counts: WSGI and CGI fold `_` and `-` into one, so `X_Real_IP` would pass for `X-Real-IP`.
    """
    return lower_name in RESERVED or lower_name.startswith(RESERVED_PREFIX) or b"_" in lower_name


def is_special_in_request(lower_name: bytes) -> bool:
    """Tell whether a request field needs more than being passed on."""
    return lower_name in _REQUEST_SPECIAL or is_reserved(lower_name)


def is_special_in_response(lower_name: bytes) -> bool:
    """Tell whether a response field needs more than being passed on."""
    return lower_name in _RESPONSE_SPECIAL


class OrdinaryNames(set[bytes]):
    """Spellings of field names known to pass on as they are; grows as they are met, up to a bound.

    A set of raw spellings lets one C-level `issuperset` clear a whole head. A client that invents names fills
    the memo and then only costs itself the slower path.
    """

    def __init__(self, is_special: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._is_special = is_special

    def clears(self, names: Collection[bytes]) -> bool:
        """Tell whether none of the names is special, and remember those met for the first time."""
        if self.issuperset(names):
            return True
        unknown = [name for name in names if name not in self]
        if any(self._is_special(name.lower()) for name in unknown):
            return False
        if len(self) < _MEMO_LIMIT:
            self.update(name for name in unknown if len(name) <= _NAME_LIMIT)
        return True


ORDINARY_IN_REQUEST = OrdinaryNames(is_special_in_request)
ORDINARY_IN_REQUEST.update((b"Host", b"Connection"))
ORDINARY_IN_RESPONSE = OrdinaryNames(is_special_in_response)
ORDINARY_IN_RESPONSE.update((b"Content-Length", b"Connection"))
"""The usual spelling of the special fields that nearly every head has is let through: readers look these up."""


def list_members(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into lower-case members, empty ones dropped (RFC 9110 section 5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def serialise(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Write fields as lines, each ended by CRLF."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])
