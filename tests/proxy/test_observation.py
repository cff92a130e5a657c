"""What requests tell of the health of a target, through the running proxy."""

from __future__ import annotations

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, RealServer

from clb.config.models import Passive
from clb.errors import BadResponse, DialRefused, DialTimeout, UpstreamClosed, UpstreamTimeout
from clb.health.streaks import Failure, Streaks
from clb.proxy.observation import Observation, failure_of

CONNECT, TIMEOUT, SERVER_ERROR = Failure
ONE_OF_EACH = Passive(connect_failures=1, timeouts=1, server_errors=1)

KINDS = {  # case: (error, whether an answer had begun, kind)
    "refused": (DialRefused(), False, CONNECT),
    "not_in_time": (DialTimeout(), False, CONNECT),
    "closed": (UpstreamClosed(), False, CONNECT),
    "closed_in_an_answer": (UpstreamClosed(), True, None),
    "garbage": (BadResponse(), False, CONNECT),
    "garbage_in_an_answer": (BadResponse(), True, CONNECT),
    "silent": (UpstreamTimeout(), False, TIMEOUT),
    "silent_in_an_answer": (UpstreamTimeout(), True, TIMEOUT),
}


@pytest.mark.parametrize(("error", "is_answered", "kind"), KINDS.values(), ids=KINDS)
def test_kinds(error, is_answered, kind):
    assert failure_of(error, is_answered=is_answered) is kind


@pytest.fixture
def watched(serve):
    """A proxy to one target whose every failure is proposed; returns (proxy, proposals)."""

    def begin(port: int, **keys):
        proxy = serve(listeners=[{"rules": [rule(port, retry={"attempts": 0})], **keys}])
        proposals = []

        def watch() -> None:
            for each in proxy.listener.rules:
                streaks = Streaks(ONE_OF_EACH, lambda *proposal: proposals.append(proposal[1:]))
                each.observation = Observation(streaks)

        proxy.call(watch)
        return proxy, proposals

    return begin


def test_a_target_that_refuses(watched, refused_port):
    proxy, proposals = watched(refused_port())
    assert proxy.connect().ask().status == 502
    ((failure, count, detail),) = proposals
    assert (failure, count) == (CONNECT, 1)
    assert "refused" in detail.lower()


def test_a_target_that_closes_without_an_answer(watched, closing):
    server = closing.enter_context(RealServer(script=lambda one: one.read_head()))
    proxy, proposals = watched(server.port)
    assert proxy.connect().ask().status == 502
    assert [proposal[:2] for proposal in proposals] == [(CONNECT, 1)]


def test_a_target_that_answers_garbage(watched, closing):
    server = closing.enter_context(RealServer(b"garbage\r\n\r\n"))
    proxy, proposals = watched(server.port)
    assert proxy.connect().ask().status == 502
    assert [proposal[:2] for proposal in proposals] == [(CONNECT, 1)]


def test_a_target_that_is_silent(watched, closing):
    server = closing.enter_context(RealServer(script=lambda one: one.read_to_end()))
    proxy, proposals = watched(server.port, timeouts={"upstream": "100ms"})
    assert proxy.connect().ask().status == 504
    assert [proposal[:2] for proposal in proposals] == [(TIMEOUT, 1)]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["whole", "in_pieces"],
)
def test_a_target_that_errs_until_it_does_not(watched, closing, answer):
    server = closing.enter_context(RealServer(answer))
    proxy, proposals = watched(server.port)
    client = proxy.connect()
    assert client.ask().status in (500, 503)
    assert [proposal[:2] for proposal in proposals] == [(SERVER_ERROR, 1)]
    (candidate,) = proxy.listener.rules[0].candidates
    assert candidate.is_suspect
    server.answer = OK
    assert client.ask().status == 200
    assert not candidate.is_suspect
    assert not proxy.listener.rules[0].observation.streaks._streaks


def test_a_client_that_leaves_says_nothing(watched, closing):
    server = closing.enter_context(RealServer(script=lambda one: one.read_to_end()))
    proxy, proposals = watched(server.port)
    client = proxy.connect()
    client.send(request())
    server.wait_for(lambda: bool(server.conversations and server.conversations[0].received))
    client.close()
    proxy.wait_until(lambda: not proxy.listener.connections)
    assert proposals == []


def test_an_answer_that_breaks_off_says_nothing(watched, closing):
    server = closing.enter_context(
        RealServer(script=lambda one: (one.read_head(), one.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")))
    )
    proxy, proposals = watched(server.port)
    client = proxy.connect()
    client.send(request())
    client.read_until(b"half")
    proxy.wait_until(lambda: not proxy.listener.connections)
    assert proposals == []


def test_a_kept_connection_that_ends_says_nothing(watched, closing):
    def ends_with_the_second(one) -> None:
        one.read_head()
        one.send(OK)
        one.read_head()

    server = closing.enter_context(RealServer(script=ends_with_the_second))
    proxy, proposals = watched(server.port)
    client = proxy.connect()
    assert client.ask().status == 200
    client.ask()  # Asked again on a new connection, or not: that is for the retries' tests.
    assert proposals == []


def test_nobody_counts_where_nobody_would_act(serve, refused_port):
    proxy = serve(listeners=[{"rules": [rule(refused_port(), retry={"attempts": 0})]}])
    assert proxy.connect().ask().status == 502
    assert proxy.listener.rules[0].observation is None
