"""One exchange by script: what both sides receive, and that everything borrowed is given back exactly once."""

from __future__ import annotations

import pytest
from exchange_script import HEAD, RecordingConnection, RecordingUpstream, answer, begin
from hypothesis import given
from hypothesis import strategies as st

from clb.errors import BadResponse, DialRefused, QueueTimeout, UpstreamClosed, UpstreamTimeout

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NOTHING = [0, 0, 0, 0, 0]


def test_a_request_goes_up_in_one_write_and_its_answer_down_in_another():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(upstream, 0.001)
    assert upstream.sent == (
        b"GET /a HTTP/1.1\r\nHost: shop.example.com\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
        b"X-Stgw-Time: 1000000000.000\r\nX-Request-ID: id\r\n\r\n"
    )
    exchange.answer_whole(answer(OK), b"ok", True)
    assert connection.sent == OK + b"ok"
    assert connection.ended == [(200, "goes on")]
    assert connection.log == [("dial", "10.0.0.1", ""), ("release", "10.0.0.1")]
    assert connection.counts() == NOTHING


def test_a_failed_dial_goes_on_to_targets_that_were_not_tried():
    connection = RecordingConnection()
    exchange = begin(connection)
    for _ in range(3):
        exchange.dial_failed(DialRefused("refused"))
    assert [entry[1] for entry in connection.log if entry[0] == "dial"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert connection.ended == [(502, "goes on")]
    assert exchange.retries == 2
    assert connection.counts() == NOTHING


def test_a_dead_kept_connection_is_followed_by_a_fresh_one_to_the_same_target():
    connection, kept = RecordingConnection(), RecordingUpstream(requests=2)
    exchange = begin(connection)
    exchange.connected(kept, 0.0)
    exchange.upstream_failed(UpstreamClosed("end of stream"))
    assert kept.events == ["closed"]
    assert connection.log == [("dial", "10.0.0.1", ""), ("dial", "10.0.0.1", "fresh")]
    fresh = RecordingUpstream()
    exchange.connected(fresh, 0.0)
    assert fresh.sent == kept.sent
    exchange.answer_whole(answer(OK), b"ok", False)
    assert fresh.events == ["closed"]
    assert connection.counts() == NOTHING


def test_body_pieces_wait_for_the_connection_in_order():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection, HEAD[:-2].replace(b"GET", b"PUT") + b"Content-Length: 6\r\n\r\n")
    exchange.request_data(b"ab")
    exchange.request_pieces([b"c", b"d"])
    exchange.connected(upstream, 0.0)
    exchange.request_data(b"ef")
    assert upstream.sent.endswith(b"\r\n\r\nabcdef")


def test_reading_stays_paused_when_the_new_connection_does_not_take_what_waited():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection, HEAD[:-2].replace(b"GET", b"PUT") + b"Content-Length: 100000\r\n\r\n")
    exchange.request_data(b"x" * 70_000)
    assert connection.log[-1] == ("blocked", True)
    upstream.is_write_blocked = True
    exchange.connected(upstream, 0.0)
    assert connection.log[-1] == ("blocked", True)


def test_a_body_does_not_follow_a_dead_connection():
    connection, kept = RecordingConnection(), RecordingUpstream(requests=2)
    exchange = begin(connection, HEAD[:-2].replace(b"GET", b"PUT") + b"Content-Length: 2\r\n\r\n")
    exchange.connected(kept, 0.0)
    exchange.upstream_failed(UpstreamClosed("end of stream"))
    assert connection.ended[0][0] == 502
    assert connection.counts() == NOTHING


def test_whatever_comes_after_the_end_changes_nothing():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(upstream, 0.0)
    exchange.downstream_lost()
    sent = connection.sent
    exchange.upstream_failed(UpstreamClosed("end of stream"))
    exchange.dial_failed(DialRefused("refused"))
    exchange.downstream_lost()
    exchange.interim_answer(answer(b"HTTP/1.1 103 Early Hints\r\n\r\n"))
    assert connection.sent == sent
    assert connection.ended == [(499, "goes on")]
    assert upstream.events == ["closed"]
    assert connection.counts() == NOTHING


def test_an_answer_that_has_begun_is_cut_and_not_replaced():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(upstream, 0.0)
    exchange.answer(answer(OK), b"o")
    exchange.upstream_failed(BadResponse("nonsense"))
    assert connection.sent == OK + b"o"
    assert connection.ended == [(200, "cut")]


def test_a_connection_is_not_lent_again_before_the_request_is_whole():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection, HEAD[:-2].replace(b"GET", b"PUT") + b"Content-Length: 6\r\n\r\n")
    exchange.connected(upstream, 0.0)
    exchange.answer_whole(answer(OK), b"ok", True)
    assert upstream.events == ["closed"]


@pytest.mark.parametrize("pieces", [[b"ab"], [b"a", b"b"], []])
def test_the_head_of_a_chunked_answer_leaves_with_its_first_chunks(pieces):
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(upstream, 0.0)
    exchange.answer(answer(CHUNKED_OK), b"", holds_head=True)
    assert connection.sent == b""
    exchange.answer_pieces(pieces, b"")
    exchange.answer_complete(is_reusable=True)
    assert connection.sent.startswith(CHUNKED_OK)
    assert connection.sent.endswith(b"0\r\n\r\n")
    assert connection.sent.count(b"0\r\n\r\n") == 1


class Player:
    """Plays events on one exchange, each where it can happen."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.made = []

    def _is_dialling(self):
        return not self.exchange.is_over and self.exchange.upstream is None

    def connected(self):
        if self._is_dialling():
            self.made.append(RecordingUpstream(requests=len(self.made) % 3 + 1))
            self.exchange.connected(self.made[-1], 0.0)

    def dial_failed(self):
        if self._is_dialling():
            self.exchange.dial_failed(DialRefused("refused"))

    def dies(self):
        if self.exchange.upstream is not None:
            self.exchange.upstream_failed(UpstreamClosed("end of stream"))

    def answers(self):
        if self.exchange.upstream is not None and not self.exchange._is_answer_begun:
            self.exchange.answer_whole(answer(OK), b"ok", True)

    def begins(self):
        if self.exchange.upstream is not None and not self.exchange._is_answer_begun:
            self.exchange.upstream.is_unanswered = False
            self.exchange.answer(answer(OK), b"o")

    def completes(self):
        if self.exchange.upstream is not None and self.exchange._is_answer_begun:
            self.exchange.answer_complete(is_reusable=True)

    def is_late(self):
        if not self.exchange.is_over:
            self.exchange.fail(UpstreamTimeout("no byte in time"))

    def waits_too_long(self):
        if not self.exchange.is_over:
            self.exchange.fail(QueueTimeout("no connection in time"))

    def client_leaves(self):
        self.exchange.downstream_lost()


EVENTS = sorted(name for name in vars(Player) if not name.startswith("_"))


@given(st.lists(st.sampled_from(EVENTS), max_size=12), st.booleans())
def test_everything_borrowed_is_given_back_once_in_whatever_order_things_happen(names, goes_on):
    connection = RecordingConnection()
    connection.goes_on = goes_on
    player = Player(begin(connection))
    for name in [*names, "client_leaves"]:
        getattr(player, name)()
    assert player.exchange.is_over
    assert len(connection.ended) == 1
    assert connection.counts() == NOTHING
    assert connection.rule.ledger.requests == 1
    for upstream in player.made:
        # A connection that died is closed twice, which does no harm; one that is lent again is not closed.
        assert set(upstream.events) in ({"released"}, {"closed"})
