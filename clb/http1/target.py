"""Take a request target and a Host apart, and refuse what could be read in two ways.

Owns:      the grammar of RFC 9112 section 3.2 (origin-, absolute- and asterisk-form) and of Host.
Elsewhere: the path a rule is matched against (routing/path.py); how many Host fields there are (head checks);
           the length of a target (`limits.uri_bytes`).
Pure:      same bytes, same answer; the cache of hosts is bounded and holds accepted values only.

llhttp accepts fragments, control escapes, `%zz`, userinfo and port 99999: everything here is decided by clb.
The grammar is RFC 3986's with one liberty, `[` and `]` in path and query: browsers send them as they are
(`?filter[]=1`) and no server takes them for a delimiter behind the authority.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from clb.errors import BadHost, BadTarget

_PATH = rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]]*+"
_QUERY = rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]]*+"
_PATH_ESCAPED = _PATH + rb"(?:%[0-9A-Fa-f]{2}" + _PATH + rb")*+"
_QUERY_ESCAPED = _QUERY + rb"(?:%[0-9A-Fa-f]{2}" + _QUERY + rb")*+"

is_plain_origin = re.compile(rb"/" + _QUERY).fullmatch
"""Origin-form without an escape: one character class, so that the usual target costs one pass."""
_is_origin = re.compile(rb"/" + _PATH_ESCAPED + rb"(?:\?" + _QUERY_ESCAPED + rb")?").fullmatch
_match_absolute = re.compile(
    rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]+)((?:/" + _PATH_ESCAPED + rb")?)((?:\?" + _QUERY_ESCAPED + rb")?)"
).fullmatch

_QUESTION_MARK = 0x3F

# Names are letters, digits, hyphens and `_`: no DNS host name has an underscore, but real names in use do.
# A percent-encoded or non-ASCII name is refused: it would have as many spellings as readers.
_match_host = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*+)\.?)(?::(0|[1-9][0-9]{0,4})?)?"
).fullmatch
# `127.1`, `2130706433`, `0x7f.1`: numbers that some resolvers read as an address and others as a name.
_ends_in_number = re.compile(rb"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)").fullmatch
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_is_ipv4 = re.compile(rb"(?:" + _OCTET + rb"\.){3}" + _OCTET).fullmatch

_MAX_HOST_BYTES = 255
_MAX_PORT = 65535
_CACHED_HOSTS = 1024
_SHOWN_BYTES = 80
"""How much of a refused value goes into the log text."""


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return (path, path and query, authority).

    The second is what goes to the real server, `path_and_query[len(path):]` is the query with its `?`.
    The authority is None unless the target was in absolute-form; it has then passed `split_host` and takes
    the place of Host (RFC 9112 section 3.2.2). `OPTIONS *` gives the path `*`, and so does OPTIONS on an
    absolute-form without path and query (RFC 9112 section 3.2.4).
    """
    if is_plain_origin(target) or _is_origin(target):
        return (target.partition(b"?")[0] if _QUESTION_MARK in target else target), target, None
    if target == b"*" and method == b"OPTIONS":
        return target, target, None
    return _split_absolute(method, target)


def _split_absolute(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes]:
    match = _match_absolute(target)
    if match is None:
        raise BadTarget(f"request target outside the grammar: {target[:_SHOWN_BYTES]!r}")
    authority, path, query = match.groups()
    try:
        split_host(authority)
    except BadHost as exc:
        raise BadTarget(f"authority of the request target: {exc}") from exc
    if not path:
        path = b"*" if method == b"OPTIONS" and not query else b"/"
    return path, path + query, authority


@lru_cache(maxsize=_CACHED_HOSTS)
def split_host(raw: bytes) -> tuple[bytes, int | None]:
    """Return (host, port) of a Host field or of an authority without userinfo.

    The host is in lower case, without a trailing dot; an IPv6 address in its shortest form, in brackets.
    """
    match = _match_host(raw)
    if match is None:
        raise BadHost(f"not a host: {raw[:_SHOWN_BYTES]!r}")
    address, name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > _MAX_PORT:
        raise BadHost(f"port above {_MAX_PORT}: {port}")
    return (_check_name(name.lower()) if address is None else _check_ipv6(address)), port


def _check_name(name: bytes) -> bytes:
    if len(name) > _MAX_HOST_BYTES:
        raise BadHost(f"host longer than {_MAX_HOST_BYTES} bytes")
    if _ends_in_number(name) and not _is_ipv4(name):
        raise BadHost(f"neither a name nor an IPv4 address: {name!r}")
    return name


def _check_ipv6(address: bytes) -> bytes:
    try:
        return b"[%s]" % IPv6Address(address.decode("ascii")).compressed.encode("ascii")
    except AddressValueError as exc:
        raise BadHost(f"not an IPv6 address: {address!r}") from exc
