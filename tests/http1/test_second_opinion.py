"""Whatever clb accepts, h11 and llhttp read in the same way, in the client's bytes and in those for the real server.

There is no exception: a head that clb accepts and h11 refuses, or reads otherwise, fails here.
"""

from __future__ import annotations

import pytest
from http1_lab import Disagreement, facts, h11_requests, llhttp_requests, read_request
from hypothesis import HealthCheck, event, given, settings
from invariants import check_agreement, check_forwarded
from message_strategies import REQUESTS
from test_request import ACCEPTED

from clb.errors import BadRequest
from clb.http1.request import read_request_head, repeat_request_head


def checked(head: bytes) -> str:
    """Read a head, compare all readings, and say what became of it."""
    try:
        request = read_request(head)
    except BadRequest as error:
        return error.reason
    if request is None:
        return "incomplete"
    head = head[: head.find(b"\r\n\r\n") + 4]
    check_agreement(head, request)
    check_forwarded(head, request)
    return "accepted"


@pytest.mark.parametrize("head", [case[0] for case in ACCEPTED.values()], ids=list(ACCEPTED))
def test_every_accepted_case(head: bytes) -> None:
    assert checked(head + b"\r\n") == "accepted"


@settings(
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(REQUESTS)
def test_generated_requests(head: bytes) -> None:
    event(checked(head))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS, REQUESTS)
def test_repeated_fields_are_read_as_if_alone(first: bytes, second: bytes) -> None:
    """The short way for field lines met before never says more than the long one."""
    line, block = second[: second.find(b"\r\n")], first[first.find(b"\r\n") : first.find(b"\r\n\r\n") + 4]
    try:
        last = read_request_head(first[: first.find(b"\r\n\r\n") + 4], 100)
        if not last.is_plain:
            return
        request = repeat_request_head(line, last)
    except BadRequest:
        return
    if request is not None:
        fresh = read_request_head(line + block, 100)
        assert facts(request) == facts(fresh)
        check_forwarded(line + block, request)
        event("repeated")


def test_the_readers_would_notice() -> None:
    """The instruments themselves: two requests are two, and what is no request is refused."""
    pair = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    for read in (h11_requests, llhttp_requests):
        assert [message.target for message in read(pair)] == [b"/a", b"/b"]
        with pytest.raises(Disagreement):
            read(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
