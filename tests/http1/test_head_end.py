"""Where a head ends, and that the verdict on it does not depend on the pieces it came in."""

from __future__ import annotations

import pytest
from http1_lab import SLICES, WHOLE, facts, read_request, read_response
from hypothesis import given, settings
from hypothesis import strategies as st

from clb.errors import BadHeader, BadRequest, BadRequestLine, BadResponse, ClbError, HeadTooLarge, TargetTooLong
from clb.http1 import head_end
from clb.http1.head_end import REQUEST_LINE_ALLOWANCE, request_head_end, response_head_end

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

INCOMPLETE = {
    "nothing": b"",
    "method": b"GE",
    "http_0.9": b"GET /\r\n",
    "no_empty_line": HEAD[:-2],
    "half_of_the_empty_line": HEAD[:-1],
    "half_of_a_line_end": b"GET / HTTP/1.1\r",
}


@pytest.mark.parametrize("slice_size", SLICES)
@pytest.mark.parametrize("wire", INCOMPLETE.values(), ids=INCOMPLETE)
def test_incomplete(wire: bytes, slice_size: int) -> None:
    assert read_request(wire, slice_size) is None


def test_what_follows_a_head_is_no_part_of_it() -> None:
    assert request_head_end(HEAD + HEAD, 1000, 1000) == len(HEAD)
    assert response_head_end(ANSWER + ANSWER, 1000) == len(ANSWER)


# --- bounds: the last that is accepted, and the first that is not ---


@pytest.mark.parametrize("slice_size", SLICES)
def test_head_at_its_bound(slice_size: int) -> None:
    assert read_request(HEAD, slice_size, header_bytes=len(HEAD)) is not None
    with pytest.raises(HeadTooLarge):
        read_request(HEAD, slice_size, header_bytes=len(HEAD) - 1)
    with pytest.raises(HeadTooLarge):
        read_request(b"GET / HTTP/1.1\r\nX: " + b"x" * 100, slice_size, header_bytes=100)


@pytest.mark.parametrize("slice_size", SLICES)
def test_target_at_its_bound(slice_size: int) -> None:
    def head(length: int) -> bytes:
        return b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * (length - 1))

    assert read_request(head(100), slice_size, uri_bytes=100) is not None
    for length in (101, 100 + REQUEST_LINE_ALLOWANCE, 1000):
        with pytest.raises(TargetTooLong):
            read_request(head(length), slice_size, uri_bytes=100)


@pytest.mark.parametrize("slice_size", SLICES)
def test_a_target_without_end_is_refused_before_the_bound_of_the_head(slice_size: int) -> None:
    with pytest.raises(TargetTooLong):
        read_request(b"GET /" + b"x" * 200, slice_size, uri_bytes=100)
    assert read_request(b"GET /" + b"x" * 100, slice_size, uri_bytes=100) is None


def test_target_is_refused_before_the_head_is_complete() -> None:
    with pytest.raises(TargetTooLong):
        request_head_end(b"GET /%b HTTP/1.1\r\nHo" % (b"x" * 100), 1000, 100)


@pytest.mark.parametrize("slice_size", SLICES)
def test_the_longest_line_is_read(slice_size: int) -> None:
    """Its CR is the last byte that fits, so the LF must be waited for."""
    line = b"X" * (100 + REQUEST_LINE_ALLOWANCE - len(b" / HTTP/1.1")) + b" / HTTP/1.1"
    with pytest.raises(BadRequest) as caught:
        read_request(line + b"\r\n\r\n", slice_size, uri_bytes=100)
    assert caught.value.client_status == 414
    assert read_request(line[24:] + b"\r", slice_size, uri_bytes=100) is None


# --- bare LF ---


@pytest.mark.parametrize("slice_size", SLICES)
def test_bare_lf_is_refused_without_waiting(slice_size: int) -> None:
    with pytest.raises(BadRequestLine):
        read_request(b"GET / HTTP/1.1\n", slice_size)
    with pytest.raises(BadHeader):
        read_request(b"GET / HTTP/1.1\r\nHost: a\n", slice_size)
    with pytest.raises(BadHeader):
        read_request(HEAD[:-2] + b"\n", slice_size)
    with pytest.raises(BadResponse):
        read_response(b"HTTP/1.1 200 OK\nContent-", slice_size=slice_size)


def test_bare_lf_is_refused_even_if_llhttp_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_end, "read_request_head", lambda head, max_fields: None)
    with pytest.raises(BadHeader):
        request_head_end(b"GET / HTTP/1.1\r\nHost: a\n", 1000, 1000)


@pytest.mark.parametrize("slice_size", SLICES)
def test_response_head_at_its_bound(slice_size: int) -> None:
    assert read_response(ANSWER, slice_size=slice_size, header_bytes=len(ANSWER)) is not None
    with pytest.raises(BadResponse):
        read_response(ANSWER, slice_size=slice_size, header_bytes=len(ANSWER) - 1)
    assert read_response(ANSWER[:-1], slice_size=slice_size) is None


# --- whole and in pieces, the same ---

_PARTS = [
    b"GET", b"POST", b"BREW", b"TRACE", b" ", b"  ", b"/", b"/a", b"*", b"http://b/", b"HTTP/1.1", b"HTTP/1.0",
    b"HTTP/2.0", b"\r\n", b"\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b"x" * 40,
    b"Host: a", b"Host: b", b"X: y", b": ", b"Content-Length: 5", b"Content-Length: -", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip", b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket", b"\t", b"\xe9",
]  # fmt: skip
_SOUP = st.lists(st.sampled_from(_PARTS), max_size=24).map(b"".join)
_HEADS = st.one_of(
    _SOUP,
    _SOUP.map(lambda soup: b"GET / HTTP/1.1\r\n" + soup + b"\r\n\r\n"),
    _SOUP.map(lambda soup: b"GET / HTTP/1.1\r\nHost: a\r\n" + soup + b"\r\n\r\n"),
)
_BOUNDS = st.sampled_from([(WHOLE, WHOLE), (80, 20), (60, 40), (40, 60), (30, 8), (8, 30)])


def verdict(wire: bytes, slice_size: int, bounds: tuple[int, int]) -> object:
    try:
        request = read_request(wire, slice_size, header_bytes=bounds[0], uri_bytes=bounds[1], max_fields=5)
    except BadRequest as error:
        return type(error)
    return facts(request) if request is not None else None


@settings(deadline=None)
@given(_HEADS, _BOUNDS, st.integers(2, 9))
def test_requests_are_read_the_same_in_any_pieces(wire: bytes, bounds: tuple[int, int], slice_size: int) -> None:
    whole = verdict(wire, WHOLE, bounds)
    assert verdict(wire, 1, bounds) == whole
    assert verdict(wire, slice_size, bounds) == whole


@given(
    _SOUP.map(lambda soup: b"HTTP/1.1 200 OK\r\n" + soup + b"\r\n\r\n"), st.sampled_from([WHOLE, 40]), st.integers(2, 9)
)
def test_responses_are_read_the_same_in_any_pieces(wire: bytes, header_bytes: int, slice_size: int) -> None:
    def read(size: int) -> object:
        try:
            response = read_response(wire, slice_size=size, header_bytes=header_bytes)
        except ClbError as error:
            return type(error)
        return facts(response) if response is not None else None

    assert read(1) == read(slice_size) == read(WHOLE)
