"""Read one request head: refuse what could be read in two ways, keep what travels on.

Owns:      the start line, Host, framing, Connection and Expect of a request (RFC 9112 sections 2 to 6, 9).
Elsewhere: grammar of the field lines (llhttp.py), of target and Host (target.py), the body (chunked.py),
           the second opinion (guard.py), clb's own fields (proxy/forwarded.py).
Pure:      same bytes, same head or the same error class; in which pieces they came is the caller's affair.
"""

from __future__ import annotations

import re

import httptools

from clb.errors import (
    BadFraming,
    BadHost,
    BadRequest,
    BadRequestLine,
    BadVersion,
    CodingUnknown,
    ExpectationUnknown,
    HeadTooLarge,
    MethodRefused,
    MethodUnknown,
)
from clb.http1.fields import ORDINARY_IN_REQUEST, is_reserved, is_special_in_request, list_members, serialise
from clb.http1.llhttp import HeadReader, request_verdict
from clb.http1.target import is_plain_origin, split_host, split_target

CHUNKED = -1
"""`content_length` of a message whose body is chunked."""

METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS PATCH QUERY PROPFIND PROPPATCH MKCOL MKCALENDAR COPY MOVE LOCK UNLOCK "
    b"SEARCH REPORT ACL BIND UNBIND REBIND LINK UNLINK CHECKOUT MERGE MKACTIVITY PURGE".split()
)
REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
IDEMPOTENT_METHODS = frozenset(b"GET HEAD PUT DELETE OPTIONS PROPFIND SEARCH REPORT QUERY".split())
"""Methods that may be sent a second time (RFC 9110 section 9.2.2), when nothing of an answer has come."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_PLAIN_CONNECTIONS = frozenset({b"keep-alive", b"Keep-Alive", b"close"})
_QUESTION_MARK = 0x3F
_VERSIONS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}


class RequestHead:
    """One request head that may be forwarded.

    Class attributes are the values of the plain case, so that a plain request sets only what it has.
    """

    method: bytes
    target: bytes
    """Path and query in origin form, or `*`; as the client spelled it."""
    path: bytes
    """The part before `?`, not normalised."""
    host: bytes = b""
    """Lower case, without port; empty for an HTTP/1.0 request without Host."""
    host_field: bytes = b""
    """What the real server gets as Host; empty as `host` is (RFC 9112 section 3.2)."""
    lines: bytes
    """The field lines that travel on, Host among them, each ended by CRLF."""
    fields: dict[bytes, bytes]
    """First value of each spelling of a name, for `value()`."""
    is_plain: bool = False
    """HTTP/1.1, no body, nothing special among the fields: what `repeat_request_head` can build upon."""
    minor_version: int = 1
    content_length: int = 0
    """Body bytes, or CHUNKED."""
    keep_alive: bool = True
    expects_continue: bool = False
    upgrade: bytes = b""
    """`websocket`, or empty."""
    supplied: dict[bytes, bytes] = {}  # noqa: RUF012 - the shared empty default is never written to
    """Reserved fields as the client sent them, by lower-case name: taken out of `lines`, and trusted only by choice."""

    def value(self, lower_name: bytes) -> bytes:
        """Return the first value of a field, or nothing; for the few that are asked for after the head was read."""
        value = self.fields.get(lower_name) or self.fields.get(lower_name.title())
        if value is not None:
            return value
        for name, other in self.fields.items():
            if name.lower() == lower_name:
                return other
        return b""


_reader: HeadReader[httptools.HttpRequestParser] = HeadReader(httptools.HttpRequestParser, request_verdict)


def read_request_head(head: bytes, max_fields: int) -> RequestHead:
    """Read a complete head: start line, field lines and the empty line.

    Raises:
        BadRequest: a leaf of it, named after the rule that is broken.
    """
    request = RequestHead()
    line_end = head.find(b"\r\n")
    try:
        authority = _read_start_line(request, head[:line_end])
    except BadRequest as error:
        if b"\n" in head[:line_end]:
            # The class it has when the LF is met before the rest has come (head_end.py).
            raise BadRequestLine("bare LF in the request line") from error
        raise
    fields = _reader.fields_by_name(head)
    line_count = head.count(b"\n") - 2
    if line_count == len(fields) <= max_fields and authority is None and ORDINARY_IN_REQUEST.clears(fields):
        connection = fields.get(b"Connection", b"keep-alive")
        host = fields.get(b"Host")
        if host is not None and request.minor_version and connection in _PLAIN_CONNECTIONS:
            try:
                request.host = split_host(host)[0]
            except BadHost:
                # White space behind a value is no part of it, and llhttp leaves it there: not the plain case.
                return _read_special(request, head, max_fields, authority)
            request.is_plain = True
            if connection == b"close":
                request.keep_alive = False
                _reader.renew()
            request.fields = fields
            request.host_field = host
            request.lines = head[line_end + 2 : -2]
            if b"Connection" in fields:
                # A field value holds no CRLF (llhttp saw to it): this finds the line and nothing else.
                start = head.find(b"\r\nConnection:", line_end)
                end = head.find(b"\r\n", start + 13)
                request.lines = head[line_end + 2 : start + 2] + head[end + 2 : -2]
            return request
    # Repeated names, special fields, or none at all, where the count of lines proves nothing.
    return _read_special(request, head, max_fields, authority)


def _read_special(request: RequestHead, head: bytes, max_fields: int, authority: bytes | None) -> RequestHead:
    _reader.renew()
    line_count = head.count(b"\n") - 2
    if line_count > max_fields:
        raise HeadTooLarge(f"{line_count} field lines, at most {max_fields} allowed")
    _interpret(request, _reader.fields_in_order(head), authority)
    return request


def repeat_request_head(line: bytes, last: RequestHead) -> RequestHead | None:
    """Read a head whose field lines are, byte for byte, those of a plain head read before on the same connection.

    Clients repeat themselves (it is what HPACK lives on), and the meaning of the field lines of a plain head does
    not depend on its request line, which is read anew with every check. None where that does not hold.

    Raises:
        BadRequest: as `read_request_head`.
    """
    request = RequestHead()
    method, _, rest = line.partition(b" ")
    target = rest[:-9]
    if method in METHODS and rest[-9:] == b" HTTP/1.1" and is_plain_origin(target):
        request.method = method
        request.target = target
        request.path = target.partition(b"?")[0] if _QUESTION_MARK in target else target
    elif _read_start_line(request, line) is not None or not request.minor_version:
        return None
    request.is_plain = True
    request.fields = last.fields
    request.host = last.host
    request.host_field = last.host_field
    request.lines = last.lines
    request.keep_alive = last.keep_alive
    return request


def _read_start_line(request: RequestHead, line: bytes) -> bytes | None:
    """Read `method SP target SP version`; return the authority of an absolute target."""
    parts = line.split(b" ")
    if len(parts) != 3:
        if len(parts) == 2:
            raise BadVersion("no version in the request line (HTTP/0.9)")
        raise BadRequestLine("not `method SP target SP version`")
    method, target, version = parts
    minor_version = _VERSIONS.get(version)
    if minor_version is None:
        raise BadVersion(f"version {version[:16]!r}, expected HTTP/1.1 or HTTP/1.0")
    if not minor_version:
        request.minor_version = 0
    if method not in METHODS:
        if method in REFUSED_METHODS:
            raise MethodRefused(f"{method.decode()} is not served")
        if _TOKEN.fullmatch(method):
            raise MethodUnknown(f"method {method[:32]!r}")
        raise BadRequestLine("the method is not a token")
    request.method = method
    request.path, request.target, authority = split_target(method, target)
    return authority


def _interpret(request: RequestHead, fields: list[tuple[bytes, bytes]], authority: bytes | None) -> None:
    """Sort the fields of a head that is not the plain case, and write those anew that travel on."""
    request.fields = {}
    kept: list[tuple[bytes, bytes]] = []
    special: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        lower = name.lower()
        request.fields.setdefault(name, value)
        if is_special_in_request(lower):
            special.setdefault(lower, []).append(value)
        else:
            kept.append((name, value))
    connection = list_members(b",".join(special.get(b"connection", ())))
    _read_host(request, special.get(b"host", []), authority)
    own = [(b"Host", request.host_field)]
    own += _read_framing(request, special)
    _read_persistence(request, connection)
    own += _read_expectation(request, special.get(b"expect", []))
    own += _read_upgrade(request, connection, special.get(b"upgrade", []))
    named = set(connection)
    request.lines = serialise(own + [field for field in kept if field[0].lower() not in named])
    request.supplied = {lower: b", ".join(values) for lower, values in special.items() if is_reserved(lower)}


def _read_host(request: RequestHead, hosts: list[bytes], authority: bytes | None) -> None:
    """Find the one host; an absolute target's authority replaces the field (RFC 9112 section 3.2.2)."""
    if len(hosts) > 1 or (not hosts and request.minor_version):
        raise BadHost(f"{len(hosts)} Host fields, expected one")
    if hosts:
        request.host, request.host_field = split_host(hosts[0])[0], hosts[0]
    if authority is not None:
        request.host, request.host_field = split_host(authority)[0], authority


def _read_framing(request: RequestHead, special: dict[bytes, list[bytes]]) -> list[tuple[bytes, bytes]]:
    """Decide the one length of the body, and return the field that says it to the real server."""
    codings, lengths = special.get(b"transfer-encoding"), special.get(b"content-length")
    if codings is not None:
        if lengths is not None or not request.minor_version:
            raise BadFraming("Transfer-Encoding beside Content-Length or in HTTP/1.0")
        _check_codings(codings)
        request.content_length = CHUNKED
        return [(b"Transfer-Encoding", b"chunked")]
    if lengths is None:
        return []
    if len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0]):
        raise BadFraming("Content-Length is not one number")
    request.content_length = int(lengths[0])
    return [(b"Content-Length", b"%d" % request.content_length)]


def _check_codings(codings: list[bytes]) -> None:
    if len(codings) == 1 and codings[0].strip(b" \t").lower() == b"chunked":
        return
    members = [member.strip(b" \t") for member in b",".join(codings).lower().split(b",")]
    is_list = len(members) > 1 and all(_TOKEN.fullmatch(member) for member in members)
    if is_list and members[-1] == b"chunked" and members.count(b"chunked") == 1:
        raise CodingUnknown(f"transfer coding {members[0][:32]!r} before chunked")
    raise BadFraming("Transfer-Encoding is not exactly one final chunked")


def _read_persistence(request: RequestHead, connection: list[bytes]) -> None:
    """Decide whether the connection goes on (RFC 9112 section 9.3)."""
    if b"close" in connection or (not request.minor_version and b"keep-alive" not in connection):
        request.keep_alive = False


def _read_expectation(request: RequestHead, expectations: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Pass `100-continue` on; an HTTP/1.0 client's is ignored (RFC 9110 section 10.1.1)."""
    if not expectations or not request.minor_version:
        return []
    if len(expectations) > 1 or expectations[0].lower() != b"100-continue":
        raise ExpectationUnknown("an expectation other than 100-continue")
    if not request.content_length:
        return []
    request.expects_continue = True
    return [(b"Expect", b"100-continue")]


def _read_upgrade(request: RequestHead, connection: list[bytes], upgrades: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Let a bodyless GET ask for a WebSocket; any other upgrade (h2c) is taken out with its token."""
    if (
        b"upgrade" not in connection
        or [value.lower() for value in upgrades] != [b"websocket"]
        or request.method != b"GET"
        or request.content_length
        or not request.minor_version
    ):
        return []
    request.upgrade = b"websocket"
    return [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
