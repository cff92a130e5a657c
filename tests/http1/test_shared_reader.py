"""One parser for the whole process: what was read before never shows in what is read next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools
import pytest
from http1_lab import facts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_strategies import REQUESTS
from test_request import ACCEPTED, REFUSED

from clb.errors import ClbError
from clb.http1 import request as request_module
from clb.http1 import response as response_module
from clb.http1.fields import OrdinaryNames, is_special_in_request, is_special_in_response
from clb.http1.llhttp import HeadReader, request_verdict, response_verdict
from clb.http1.request import read_request_head
from clb.http1.response import read_response_head

HEADS = [head + b"\r\n" for head, _, _ in ACCEPTED.values()] + [head for head, _ in REFUSED.values()]
ANSWERS = [
    b"HTTP/1.1 %b\r\n%b\r\n" % (status, lines)
    for status in (b"200 OK", b"204 No", b"304 Not", b"101 Up", b"100 Go", b"500 E")
    for lines in (
        b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
        b"Content-Length: x\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"X: a\nb\r\n", b"Set-Cookie: a\r\nSet-Cookie: b\r\n",
        b"Content-Length: 5\r\nConnection: keep-alive\r\nX-Y: z\r\n",
    )
]  # fmt: skip


@contextmanager
def fresh_readers() -> Iterator[None]:
    in_request, in_response = OrdinaryNames(is_special_in_request), OrdinaryNames(is_special_in_response)
    in_request.update((b"Host", b"Connection"))
    in_response.update((b"Content-Length", b"Connection"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_module, "_reader", HeadReader(httptools.HttpRequestParser, request_verdict))
        patch.setattr(request_module, "ORDINARY_IN_REQUEST", in_request)
        patch.setattr(response_module, "_reader", HeadReader(httptools.HttpResponseParser, response_verdict))
        patch.setattr(response_module, "ORDINARY_IN_RESPONSE", in_response)
        patch.setattr(response_module, "_status_lines", {})
        yield


def outcome(read: Callable[[], Any]) -> object:
    try:
        return facts(read())
    except ClbError as error:
        return type(error)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.sampled_from(HEADS), REQUESTS), min_size=2, max_size=12))
def test_requests(heads: list[bytes]) -> None:
    for head in heads:
        end = head.find(b"\r\n\r\n") + 4
        if end < 4:
            continue
        shared = outcome(lambda: read_request_head(head[:end], 100))  # noqa: B023 - called at once
        with fresh_readers():
            assert outcome(lambda: read_request_head(head[:end], 100)) == shared  # noqa: B023


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from([b"GET", b"HEAD"])), min_size=2, max_size=12))
def test_responses(answers: list[tuple[bytes, bytes]]) -> None:
    for answer in answers:
        shared = outcome(lambda: read_response_head(*answer))  # noqa: B023 - called at once
        with fresh_readers():
            assert outcome(lambda: read_response_head(*answer)) == shared  # noqa: B023


@pytest.mark.parametrize("before", HEADS)
def test_plain_head_behind_every_case(before: bytes) -> None:
    plain = b"GET /x HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n"
    for _ in range(2):
        outcome(lambda: read_request_head(before, 100))
    request = read_request_head(plain, 100)
    assert (request.is_plain, request.lines) == (True, b"Host: a\r\nAccept: b\r\n")
