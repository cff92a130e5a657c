from __future__ import annotations

import email.utils
import json
from collections.abc import Iterator

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb import errors
from clb.proxy.replies import STATUSES, error_reply, http_date, preferred_type, redirect_reply

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
REDIRECTS = {301, 302, 307, 308}
CHROME = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def error(status: int = 404, accept: bytes = b"", method: bytes = b"GET", **options: object) -> bytes:
    defaults: dict[str, object] = {"request_id": b"id-1", "keep_alive": True, "date": DATE}
    arguments = defaults | options
    return error_reply(status, arguments.pop("request_id"), accept, method=method, **arguments)  # type: ignore[arg-type]


def parse(reply: bytes, method: bytes = b"GET") -> tuple[h11.Response, dict[bytes, bytes], bytes]:
    """What an HTTP client makes of it; it must be complete, with nothing behind it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(reply)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names))
    return response, dict(response.headers), body


def leaves(base: type[errors.ClbError]) -> Iterator[type[errors.ClbError]]:
    yield base
    for child in base.__subclasses__():
        yield from leaves(child)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("accept", [b"", b"application/json", b"application/problem+json"])
@pytest.mark.parametrize("status", sorted(STATUSES - REDIRECTS))
def test_every_error_is_one_complete_message(status: int, accept: bytes, method: bytes) -> None:
    response, headers, body = parse(error(status, accept, method), method)
    assert response.status_code == status
    assert headers[b"date"] == DATE
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert (b"allow" in headers) == (status == 405)
    assert b"retry-after" not in headers
    if method == b"HEAD":
        assert body == b""
        assert headers[b"content-length"] == parse(error(status, accept))[1][b"content-length"]
    else:
        assert len(body) == int(headers[b"content-length"])
        assert b"id-1" in body


def test_every_status_of_the_error_tree_has_a_page() -> None:
    statuses = {leaf.client_status for leaf in leaves(errors.ClbError)} - {None}
    assert statuses <= STATUSES


def test_json_has_the_members_of_a_problem() -> None:
    _, headers, body = parse(error(502, b"application/json"))
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(body) == {
        "status": 502,
        "title": "Bad Gateway",
        "detail": "The real server closed the connection or answered wrongly.",
        "request_id": "id-1",
    }


HTML, JSON, PROBLEM = b"text/html", b"application/json", b"application/problem+json"
ACCEPTS = {  # case: (accept, type)
    "none": (b"", HTML),
    "curl": (b"*/*", HTML),
    "browser": (CHROME, HTML),
    "json": (b"application/json", JSON),
    "axios": (b"application/json, text/plain, */*", JSON),
    "problem": (b"application/problem+json", PROBLEM),
    "problem_first": (b"application/problem+json, application/json", PROBLEM),
    "json_first": (b"application/json, application/problem+json", JSON),
    "json_before_html": (b"application/json, text/html", JSON),
    "html_before_json": (b"text/html, application/json", HTML),
    "html_weighs_more": (b"application/json;q=0.5, text/html;q=0.8", HTML),
    "json_weighs_more": (b"text/html;q=0.5, application/json;q=0.8", JSON),
    "json_refused": (b"application/json;q=0, */*", HTML),
    "only_refusals": (b"application/json;q=0", HTML),
    "html_refused": (b"text/html;q=0, application/*;q=0.1", JSON),
    "application_range": (b"application/*", JSON),
    "range_below_html": (b"application/*;q=0.2, text/*", HTML),
    "exact_holds_over_range": (b"application/*, application/json;q=0.1, text/html;q=0.5", PROBLEM),
    "spaces_and_case": (b" Application/JSON ; Q=0.9 , text/html ;q=0.1", JSON),
    "other_parameter_first": (b"application/json;charset=utf-8;q=0.2, text/html;q=0.3", HTML),
    "bad_weight_counts_nothing": (b"application/json;q=high, text/html;q=0.001", HTML),
    "weight_above_one": (b"text/html, application/json;q=1.9", HTML),
    "image": (b"image/png", HTML),
    "empty_elements": (b",,;,application/json", JSON),
    "too_long": (b"application/json," * 100, HTML),
}


@pytest.mark.parametrize(("accept", "media_type"), ACCEPTS.values(), ids=ACCEPTS)
def test_accept(accept: bytes, media_type: bytes) -> None:
    assert preferred_type(accept) == media_type
    assert parse(error(404, accept))[1][b"content-type"].partition(b";")[0] == media_type


def test_connection_closes_only_when_told() -> None:
    assert b"connection" not in parse(error())[1]
    assert parse(error(keep_alive=False))[1][b"connection"] == b"close"


def test_extra_headers_are_added() -> None:
    _, headers, _ = parse(error(503, extra_headers=(b"Retry-After: 5", b"X-A: b")))
    assert (headers[b"retry-after"], headers[b"x-a"]) == (b"5", b"b")


@pytest.mark.parametrize("line", [b"A: b\r\nC: d", b"A: b\n", b"A: \0"], ids=["crlf", "lf", "nul"])
def test_a_line_cannot_be_split(line: bytes) -> None:
    with pytest.raises(ValueError, match="control character"):
        error(extra_headers=(line,))


@pytest.mark.parametrize("status", sorted(REDIRECTS))
@pytest.mark.parametrize("accept", [b"", b"application/json"], ids=["html", "json"])
def test_redirect(status: int, accept: bytes) -> None:
    reply = redirect_reply(
        status, b"https://a.example/b?c=%20d", b"id-1", accept, method=b"GET", keep_alive=True, date=DATE
    )
    response, headers, body = parse(reply)
    assert response.status_code == status
    assert headers[b"location"] == b"https://a.example/b?c=%20d"
    assert b"cache-control" not in headers
    assert b"id-1" in body


@given(location=st.binary(max_size=60), request_id=st.binary(max_size=60), accept=st.binary(max_size=60))
def test_no_input_breaks_out(location: bytes, request_id: bytes, accept: bytes) -> None:
    reply = redirect_reply(301, location, request_id, accept, method=b"GET", keep_alive=False, date=DATE)
    _, headers, body = parse(reply)
    assert headers[b"location"].isascii()
    assert set(headers) == {
        b"content-type",
        b"x-content-type-options",
        b"content-length",
        b"date",
        b"location",
        b"connection",
    }
    assert len(body) == int(headers[b"content-length"])
    if headers[b"content-type"] == HTML + b"; charset=utf-8":
        assert body.count(b"<") == parse(error(404))[2].count(b"<")
    else:
        json.loads(body)


@given(st.integers(min_value=0, max_value=2**33))
def test_http_date(wall_seconds: int) -> None:
    assert http_date(wall_seconds).decode() == email.utils.formatdate(wall_seconds, usegmt=True)
