"""The answers clb makes itself: errors and redirects.

Owns:      their text, the choice between HTML and JSON, and their header fields.
Elsewhere: which status an error has (errors.py); where a redirect leads (routing/); sending (downstream.py).
Pure:      same arguments, same bytes; the date is passed in.

A body says in one sentence which side failed, and carries the request id, by which an operator finds the log
line. It never says more: what a real server or a parser said stays in the log.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Final

# Titles as in RFC 9110; http.HTTPStatus changes some of them with the version of Python.
_TEXTS: Final = {
    301: ("Moved Permanently", "What you asked for has moved for good to the address in the Location field."),
    302: ("Found", "What you asked for is for now at the address in the Location field."),
    307: ("Temporary Redirect", "What you asked for is for now at the address in the Location field."),
    308: (
        "Permanent Redirect",
        "What you asked for has moved for good to the address in the Location field.",
    ),
    400: ("Bad Request", "The load balancer could not accept the request, because it is not valid HTTP."),
    403: ("Forbidden", "The load balancer does not allow this request."),
    404: ("Not Found", "The load balancer has no rule for this address."),
    405: ("Method Not Allowed", "The load balancer does not serve this method."),
    408: ("Request Timeout", "The client took too long to send its request."),
    413: ("Content Too Large", "The request body is larger than the load balancer allows."),
    414: ("URI Too Long", "The address asked for is longer than the load balancer allows."),
    417: ("Expectation Failed", "The load balancer cannot meet what the Expect field asks for."),
    421: ("Misdirected Request", "This connection was made for another host name than the request asks for."),
    429: ("Too Many Requests", "The client sends more requests than the load balancer allows."),
    431: (
        "Request Header Fields Too Large",
        "The header of the request is larger than the load balancer allows.",
    ),
    500: ("Internal Server Error", "The load balancer failed."),
    501: ("Not Implemented", "The load balancer does not know this method or transfer coding."),
    502: ("Bad Gateway", "The real server closed the connection or answered wrongly."),
    503: ("Service Unavailable", "No real server can take the request now."),
    504: ("Gateway Timeout", "The real server did not answer in time."),
    505: ("HTTP Version Not Supported", "The load balancer does not speak this version of HTTP."),
}
STATUSES: Final = frozenset(_TEXTS)
"""What `error_reply` and `redirect_reply` know; each `client_status` of the error tree is among them."""

# Required with a 405 (RFC 9110 section 15.5.6). What a real server allows, clb does not know.
_ALLOW: Final = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
_HTML, _JSON, _PROBLEM = b"text/html", b"application/json", b"application/problem+json"
_MAX_ACCEPT_BYTES: Final = 1024
"""A longer Accept is not worth reading for an error page."""
_WEIGHT = re.compile(rb"[01](?:\.[0-9]{0,3})?")
_UNSAFE_IN_ID = re.compile(rb"[^A-Za-z0-9._:/+=@-]")
# RFC 3986's characters; the rest is percent-encoded. A quote stays out for the sake of careless clients.
_UNSAFE_IN_LOCATION = re.compile(rb"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]")
_UNSAFE_IN_LINE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class _Page:
    """One status as one media type. `body_start` + request id + `body_end` is the body."""

    head: bytes
    body_start: bytes
    body_end: bytes


def error_reply(
    status: int,
    request_id: bytes,
    accept: bytes,
    *,
    method: bytes,
    keep_alive: bool,
    date: bytes,
    extra_headers: tuple[bytes, ...] = (),
) -> bytes:
    """Make the whole response. `extra_headers` are field lines without CRLF, such as `Retry-After: 5`."""
    return _reply(status, request_id, accept, method, keep_alive, date, extra_headers)


def redirect_reply(
    status: int,
    location: bytes,
    request_id: bytes,
    accept: bytes,
    *,
    method: bytes,
    keep_alive: bool,
    date: bytes,
    extra_headers: tuple[bytes, ...] = (),
) -> bytes:
    """Make the whole response. What may not stand in a URL is percent-encoded in `location`."""
    safe = _UNSAFE_IN_LOCATION.sub(lambda found: b"%%%02X" % found.group()[0], location)
    return _reply(status, request_id, accept, method, keep_alive, date, (b"Location: " + safe, *extra_headers))


def http_date(wall_seconds: float) -> bytes:
    """`Sun, 06 Nov 1994 08:49:37 GMT`; strftime would write names in the process's language."""
    at = time.gmtime(wall_seconds)
    date = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04d}"
    return f"{date} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT".encode()


def _reply(
    status: int,
    request_id: bytes,
    accept: bytes,
    method: bytes,
    keep_alive: bool,
    date: bytes,
    lines: tuple[bytes, ...],
) -> bytes:
    page = _PAGES[status, preferred_type(accept)]
    # Ids of trusted networks are kept as they came, so they are not taken for harmless here.
    body = page.body_start + _UNSAFE_IN_ID.sub(b"?", request_id) + page.body_end
    for line in lines:
        if _UNSAFE_IN_LINE.search(line):
            raise ValueError("a header line with a control character would end the line early")
    return b"%bContent-Length: %d\r\nDate: %b\r\n%b%b\r\n%b" % (
        page.head,
        len(body),
        date,
        b"".join([line + b"\r\n" for line in lines]),
        b"" if keep_alive else b"Connection: close\r\n",
        # RFC 9110 section 9.3.2: the length stays that of the body a GET would have.
        b"" if method == b"HEAD" else body,
    )


def preferred_type(accept: bytes) -> bytes:
    """HTML unless JSON has the higher weight, or the same weight and is named more exactly or earlier."""
    lowered = accept.lower()
    names_json = b"json" in lowered or b"application/*" in lowered
    if len(accept) > _MAX_ACCEPT_BYTES or not names_json:
        return _HTML
    best, best_rank = _HTML, (0, -1, 0)
    for candidate in (_HTML, _JSON, _PROBLEM):
        rank = _rank(candidate, lowered)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = candidate, rank
    return best


def _rank(candidate: bytes, accept: bytes) -> tuple[int, int, int]:
    """Weight in thousandths, exactness and earliness of the range that holds for `candidate`.

    RFC 9110 section 12.5.1: of several ranges that match, the most exact one holds.
    """
    ranges = (b"*/*", candidate.partition(b"/")[0] + b"/*", candidate)
    holding = (0, -1, 0)
    for position, element in enumerate(accept.split(b",")):
        name, *parameters = [part.strip(b" \t") for part in element.split(b";")]
        if name in ranges and (exactness := ranges.index(name)) > holding[1]:
            holding = (_weight(parameters), exactness, -position)
    return holding


def _weight(parameters: list[bytes]) -> int:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            value = parameter[2:]
            return min(1000, round(float(value) * 1000)) if _WEIGHT.fullmatch(value) else 0
    return 1000


def _page(status: int, media_type: bytes) -> _Page:
    title, sentence = _TEXTS[status]
    is_redirect = status < 400
    head = b"HTTP/1.1 %d %b\r\n" % (status, title.encode())
    head += b"Content-Type: %b%b\r\n" % (media_type, b"; charset=utf-8" if media_type == _HTML else b"")
    head += b"X-Content-Type-Options: nosniff\r\n"
    # A redirect may be kept for as long as its status says.
    head += b"" if is_redirect else b"Cache-Control: no-store\r\n"
    head += _ALLOW if status == 405 else b""
    render = _html_body if media_type == _HTML else _json_body
    return _Page(head, *render(status, title, sentence))


def _html_body(status: int, title: str, sentence: str) -> tuple[bytes, bytes]:
    name = f"{status} {title}"
    start = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>\n'
        f"<body><h1>{name}</h1><p>{sentence}</p>\n<p>Request id: <code>"
    )
    return start.encode(), b"</code></p></body></html>\n"


def _json_body(status: int, title: str, sentence: str) -> tuple[bytes, bytes]:
    """The members of RFC 9457, and the id last."""
    members = json.dumps({"status": status, "title": title, "detail": sentence, "request_id": ""})
    return members[: -len('"}')].encode(), b'"}\n'


_PAGES: Final = {
    (status, media_type): _page(status, media_type) for status in _TEXTS for media_type in (_HTML, _JSON, _PROBLEM)
}
