"""What llhttp finds in whole heads, and the classes that its words stand for (httptools is pinned because of them)."""

from __future__ import annotations

import httptools
import pytest

from clb.errors import BadFraming, BadHeader, BadRequest, BadResponse, BadTarget
from clb.http1.llhttp import HeadReader, request_verdict, response_verdict

BASE = b"GET / HTTP/1.1\r\nHost: a\r\n"


def request_reader() -> HeadReader[httptools.HttpRequestParser]:
    return HeadReader(httptools.HttpRequestParser, request_verdict)


VERDICTS: dict[str, tuple[bytes, str, type[BadRequest]]] = {  # case: (head, llhttp's words, class)
    "length_beside_chunked": (
        BASE + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "Content-Length can't be present with Transfer-Encoding",
        BadFraming,
    ),
    "chunked_beside_length": (
        BASE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding can't be present with Content-Length",
        BadFraming,
    ),
    "repeated_length": (
        BASE + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "Duplicate Content-Length",
        BadFraming,
    ),
    "signed_length": (BASE + b"Content-Length: +5\r\n\r\n", "Invalid character in Content-Length", BadFraming),
    "empty_length": (BASE + b"Content-Length:\r\n\r\n", "Empty Content-Length", BadFraming),
    "overflow": (BASE + b"Content-Length: 99999999999999999999\r\n\r\n", "Content-Length overflow", BadFraming),
    "coding_not_chunked": (
        BASE + b"Transfer-Encoding: xchunked\r\n\r\n",
        "Request has invalid `Transfer-Encoding`",
        BadFraming,
    ),
    "target": (b"GET /\x7f HTTP/1.1\r\n\r\n", "Invalid char in url", BadTarget),
    "space_before_colon": (BASE + b"X : a\r\n\r\n", "Invalid header token", BadHeader),
    "obs_fold": (BASE + b"X: a\r\n b\r\n\r\n", "Unexpected whitespace after header value", BadHeader),
    "nul": (BASE + b"X: \0\r\n\r\n", "Invalid header value char", BadHeader),
    "carriage_return": (BASE + b"X: a\rb\r\n\r\n", "Missing expected LF after header value", BadHeader),
    "line_feed": (BASE + b"X: a\nb\r\n\r\n", "Missing expected CR after header value", BadHeader),
    "leading_space": (b"GET / HTTP/1.1\r\n X: a\r\n\r\n", "Unexpected space after start line", BadHeader),
}


@pytest.mark.parametrize(("head", "words", "error"), VERDICTS.values(), ids=VERDICTS)
def test_words_and_classes(head: bytes, words: str, error: type[BadRequest]) -> None:
    reader = request_reader()
    for read in (reader.fields_by_name, reader.fields_in_order):
        with pytest.raises(BadRequest, match=words) as caught:
            read(head)
        assert type(caught.value) is error
    # And the parser of the next head is a new one.
    assert reader.fields_by_name(BASE + b"\r\n") == {b"Host": b"a"}


def test_every_fault_of_an_answer_is_one_class() -> None:
    reader = HeadReader(httptools.HttpResponseParser, response_verdict)
    with pytest.raises(BadResponse):
        reader.fields_by_name(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    assert reader.fields_by_name(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n") == {b"A": b"b"}


def test_fields_by_name_keeps_the_first_and_copies() -> None:
    reader = request_reader()
    head = BASE + b"A: 1\r\nA: 2\r\na: 3 \r\nEmpty:\r\n\r\n"
    fields = reader.fields_by_name(head)
    assert fields == {b"Host": b"a", b"A": b"1", b"a": b"3 ", b"Empty": b""}
    reader.fields_by_name(BASE + b"\r\n")
    assert len(fields) == 4


def test_fields_in_order_keeps_all_without_white_space_behind() -> None:
    head = BASE + b"A:1\t\r\nA:  2 \r\nEmpty: \r\n\r\n"
    assert request_reader().fields_in_order(head) == [(b"Host", b"a"), (b"A", b"1"), (b"A", b"2"), (b"Empty", b"")]


@pytest.mark.parametrize(
    "lines", [b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n"]
)
def test_an_upgrade_ends_the_head_and_renews_the_parser(lines: bytes) -> None:
    reader = request_reader()
    assert set(reader.fields_by_name(BASE + lines + b"\r\n")) == {b"Host", b"Connection", b"Upgrade"}
    assert len(reader.fields_in_order(BASE + lines + b"\r\n")) == 3
    assert reader.fields_by_name(BASE + b"\r\n") == {b"Host": b"a"}


def test_a_parser_that_was_not_renewed_reports_no_field() -> None:
    """A mistake shows as a mismatch of the number of lines, never as a wrong field (the header of llhttp.py)."""
    reader = request_reader()
    reader.fields_by_name(BASE + b"Content-Length: 30\r\n\r\n")
    assert reader.fields_by_name(BASE + b"X: y\r\n\r\n") == {}
    reader.renew()
    assert reader.fields_by_name(BASE + b"X: y\r\n\r\n") == {b"Host": b"a", b"X": b"y"}
