"""One exchange by script: what both sides receive, and that everything borrowed is given back exactly once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from exchange_script import HEAD, RecordingConnection, RecordingUpstream, answer, begin
from hypothesis import given
from hypothesis import strategies as st

from clb.balancing.stickiness import SessionPolicy
from clb.balancing.wrr import WeightedRoundRobin
from clb.config.models import HashOn, Retry, Timeouts
from clb.errors import BadResponse, DialRefused, NoDescriptors, QueueTimeout, UpstreamClosed, UpstreamTimeout
from clb.proxy.attempts import MOST_TARGETS_TRIED

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


def test_a_dead_kept_connection_is_followed_by_another_target():
    connection, kept = RecordingConnection(), RecordingUpstream(requests=2)
    exchange = begin(connection)
    exchange.connected(kept, 0.0)
    exchange.upstream_failed(UpstreamClosed("end of stream"))
    assert kept.events == ["closed"]
    assert connection.log == [("dial", "10.0.0.1", ""), ("dial", "10.0.0.2", "")]
    assert [one.payload.raced for one in connection.rule.candidates] == [1, 0, 0]
    fresh = RecordingUpstream()
    exchange.connected(fresh, 0.0)
    assert fresh.sent == kept.sent
    exchange.answer_whole(answer(OK), b"ok", False)
    assert fresh.events == ["closed"]
    assert connection.counts() == NOTHING


def test_a_dead_kept_connection_is_followed_by_a_fresh_one_where_there_is_no_other_target():
    connection, kept = RecordingConnection(targets=1), RecordingUpstream(requests=2)
    exchange = begin(connection)
    exchange.connected(kept, 0.0)
    exchange.upstream_failed(UpstreamClosed("end of stream"))
    assert connection.log == [("dial", "10.0.0.1", ""), ("dial", "10.0.0.1", "fresh")]
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer_whole(answer(OK), b"ok", True)
    assert connection.counts() == [0, 0, 0]


def test_a_session_does_not_end_with_an_idle_connection():
    session = SessionPolicy(b"SID", 60.0, b"k" * 32, secure=True, same_site="lax")
    connection = RecordingConnection(session=session)
    session.update(connection.rule.candidates)
    cookie = session.set_cookie(connection.rule.candidates[1]).partition(b";")[0]
    exchange = begin(connection, HEAD[:-2] + b"Cookie: " + cookie + b"\r\n\r\n")
    exchange.connected(RecordingUpstream(requests=2), 0.0)
    exchange.upstream_failed(UpstreamClosed("end of stream"))
    exchange.dial_failed(DialRefused("refused"))
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer_whole(answer(OK), b"ok", True)
    dials = [entry for entry in connection.log if entry[0] == "dial"]
    assert dials == [("dial", "10.0.0.2", ""), ("dial", "10.0.0.2", "fresh"), ("dial", "10.0.0.1", "")]
    assert b"Set-Cookie: SID=" in connection.sent  # It is another one now.


def put(body=b"", fields=b""):
    return HEAD[:-2].replace(b"GET", b"PUT") + fields + b"Content-Length: 6\r\n\r\n" + body


FAILURES = {  # case: (retry, request, requests on the connection, error, whether another target is asked)
    "fresh": ({}, HEAD, 1, UpstreamClosed("reset"), True),
    "fresh_unsafe": ({}, HEAD.replace(b"GET", b"POST"), 1, UpstreamClosed("reset"), False),
    "fresh_body": ({}, put(), 1, UpstreamClosed("reset"), False),
    "kept_unsafe": ({}, HEAD.replace(b"GET", b"POST"), 2, UpstreamClosed("reset"), False),
    "closed_not_asked_for": ({"on": ("connect",)}, HEAD, 2, UpstreamClosed("reset"), False),
    "no_attempts": ({"attempts": 0}, HEAD, 2, UpstreamClosed("reset"), False),
    "no_budget": ({"budget": 0.0, "budget_minimum": 0}, HEAD, 1, UpstreamClosed("reset"), False),
    "timeout": ({}, HEAD, 1, UpstreamTimeout("late"), False),
    "timeout_asked_for": ({"on": ("timeout",)}, HEAD, 1, UpstreamTimeout("late"), True),
    "timeout_unsafe": ({"on": ("timeout",)}, HEAD.replace(b"GET", b"PATCH"), 1, UpstreamTimeout("late"), False),
}


@pytest.mark.parametrize(("retry", "head", "requests", "error", "again"), FAILURES.values(), ids=FAILURES)
def test_what_is_sent_again(retry, head, requests, error, again):
    connection = RecordingConnection(keys={"retry": Retry(**retry)})
    exchange = begin(connection, head)
    exchange.connected(RecordingUpstream(requests=requests), 0.0)
    exchange.upstream_failed(error)
    assert [entry[1] for entry in connection.log if entry[0] == "dial"] == ["10.0.0.1", "10.0.0.2"][: 1 + again]
    assert exchange.is_over == (not again)
    exchange.downstream_lost()
    assert connection.counts() == NOTHING


def test_an_attempt_that_died_behind_an_interim_answer_is_not_repeated():
    connection, upstream = RecordingConnection(), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(upstream, 0.0)
    upstream.is_unanswered = False
    exchange.upstream_failed(UpstreamClosed("reset"))
    assert connection.ended == [(502, "goes on")]


def test_a_refused_connect_needs_no_budget_and_loses_no_body():
    connection = RecordingConnection(keys={"retry": Retry(budget=0.0, budget_minimum=0)})
    exchange = begin(connection, put().replace(b"PUT", b"POST"))
    exchange.request_data(b"abc")
    exchange.dial_failed(DialRefused("refused"))
    upstream = RecordingUpstream()
    exchange.connected(upstream, 0.0)
    exchange.request_data(b"def")
    assert upstream.sent.endswith(b"\r\n\r\nabcdef")


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("is_reusable", [True, False])
def test_a_whole_server_error_is_replaced_by_another_target_s_answer_if_that_is_asked_for(is_reusable):
    connection, first = RecordingConnection(keys={"retry": Retry(on=("503",))}), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(first, 0.0)
    exchange.answer_whole(answer(UNAVAILABLE), b"no", is_reusable)
    assert first.events == ["released" if is_reusable else "closed"]
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer_whole(answer(OK), b"ok", True)
    assert connection.sent == OK + b"ok"
    assert connection.counts() == NOTHING


def test_a_server_error_that_comes_in_pieces_is_replaced_too():
    connection, first = RecordingConnection(keys={"retry": Retry(on=("503",))}), RecordingUpstream()
    exchange = begin(connection)
    exchange.connected(first, 0.0)
    exchange.answer(answer(UNAVAILABLE), b"n")
    assert first.events == ["closed"]
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer_whole(answer(OK), b"ok", True)
    assert connection.sent == OK + b"ok"


@pytest.mark.parametrize("head", [HEAD, HEAD.replace(b"GET", b"POST")])
def test_the_last_server_error_goes_to_the_client(head):
    connection = RecordingConnection(keys={"retry": Retry(on=("502", "503"))})
    exchange = begin(connection, head)
    while not exchange.is_over:
        exchange.connected(RecordingUpstream(), 0.0)
        exchange.answer_whole(answer(UNAVAILABLE), b"no", True)
    assert connection.sent == UNAVAILABLE + b"no"
    assert exchange.retries == (2 if head is HEAD else 0)
    assert connection.counts() == NOTHING


def test_a_full_target_is_passed_over_and_503_comes_when_all_are_full():
    connection = RecordingConnection()
    full, other, last = (one.payload for one in connection.rule.candidates)
    full.is_full = True
    exchange = begin(connection)
    assert connection.log == [("full", "10.0.0.1"), ("dial", "10.0.0.2", "")]
    assert exchange.retries == 0
    exchange.downstream_lost()
    other.is_full = last.is_full = True
    begin(connection)
    assert connection.ended[-1][0] == 503
    assert connection.counts() == NOTHING


def test_no_more_full_targets_are_asked_than_so_many():
    connection = RecordingConnection(targets=20)
    for one in connection.rule.candidates:
        one.payload.is_full = True
    begin(connection)
    assert sum(entry[0] == "full" for entry in connection.log) == MOST_TARGETS_TRIED + 1
    assert connection.ended == [(503, "goes on")]


def test_who_waits_at_a_target_that_takes_no_more_work_goes_to_another():
    connection = RecordingConnection()
    exchange = begin(connection)
    exchange.is_queued = True
    assert exchange.go_elsewhere()
    assert connection.log == [("dial", "10.0.0.1", ""), ("cancel", "10.0.0.1"), ("dial", "10.0.0.2", "")]
    exchange.downstream_lost()
    assert connection.counts() == NOTHING


def test_who_waits_at_the_only_target_waits_on():
    connection = RecordingConnection(targets=1)
    exchange = begin(connection)
    exchange.is_queued = True
    assert not exchange.go_elsewhere()
    assert exchange.is_queued
    exchange.downstream_lost()


def test_the_time_of_one_attempt():
    connection = RecordingConnection(keys={"retry": Retry(on=("timeout",), timeout="2s")})
    slow, last = RecordingUpstream(), RecordingUpstream()
    exchange = begin(connection)
    exchange.look_at_time(9.0)  # Nothing has been sent: that is the time of the connect.
    exchange.connected(slow, 0.0)  # At 1.0.
    exchange.look_at_time(2.9)
    assert slow.events == []
    exchange.look_at_time(3.1)
    assert slow.events == ["closed"]
    exchange.connected(last, 0.0)
    last.is_unanswered = False
    exchange.look_at_time(9.0)
    assert last.events == []
    exchange.answer_whole(answer(OK), b"ok", True)
    assert connection.counts() == NOTHING


def test_the_last_attempt_may_take_as_long_as_any():
    connection = RecordingConnection(keys={"retry": Retry(on=("timeout",), timeout="2s", attempts=0)})
    exchange, upstream = begin(connection), RecordingUpstream()
    exchange.connected(upstream, 0.0)
    exchange.look_at_time(30.0)
    assert upstream.events == []
    exchange.answer_whole(answer(OK), b"ok", True)
    assert connection.ended == [(200, "goes on")]


def test_the_time_of_a_whole_request():
    connection = RecordingConnection()
    connection.runtime.timeouts = Timeouts(request="10s")
    exchange, upstream = begin(connection), RecordingUpstream()
    exchange.connected(upstream, 0.0)
    exchange.look_at_time(11.0)
    assert not exchange.is_over
    exchange.look_at_time(11.1)
    assert connection.ended == [(504, "goes on")]
    assert connection.log[-1] == ("refused", "request_timeout")
    assert connection.counts() == NOTHING


def test_an_upgraded_connection_has_no_time_as_a_whole():
    connection = RecordingConnection()
    connection.runtime.timeouts = Timeouts(request="10s")
    head = HEAD[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    exchange = begin(connection, head)
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer(answer(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), b"")
    exchange.look_at_time(1000.0)
    assert not exchange.is_over


class Learner(WeightedRoundRobin):
    """A scheduler that is told of everything, and writes it down."""

    def __init__(self, candidates):
        super().__init__(candidates, lambda _: 0)
        self.watcher = self
        self.heard = []

    def began(self, candidate):
        self.heard.append(("began", candidate.address, candidate.in_flight))

    def answered(self, candidate, latency_s, now):
        self.heard.append(("answered", candidate.address, latency_s))

    def ended(self, candidate):
        self.heard.append(("ended", candidate.address, candidate.in_flight))

    def failed(self, candidate, now):
        self.heard.append(("failed", candidate.address))


def test_who_learns_hears_of_every_attempt_once():
    connection = RecordingConnection(keys={"retry": Retry(on=("connect", "503"))})
    scheduler = connection.rule.scheduler = Learner(connection.rule.candidates)
    exchange = begin(connection)
    exchange.dial_failed(DialRefused("refused"))
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer_whole(answer(UNAVAILABLE), b"no", True)
    exchange.connected(RecordingUpstream(), 0.0)
    exchange.answer(answer(OK), b"o")
    assert scheduler.heard.pop() == ("answered", "10.0.0.3", 0.0)
    exchange.answer_complete(is_reusable=True)
    assert scheduler.heard == [
        ("began", "10.0.0.1", 1),
        ("failed", "10.0.0.1"),
        ("ended", "10.0.0.1", 0),
        ("began", "10.0.0.2", 1),
        ("failed", "10.0.0.2"),
        ("ended", "10.0.0.2", 0),
        ("began", "10.0.0.3", 1),
        ("ended", "10.0.0.3", 0),
    ]


def test_a_quick_error_is_no_quick_answer():
    connection = RecordingConnection()
    scheduler = connection.rule.scheduler = Learner(connection.rule.candidates)
    for answered in (UNAVAILABLE, OK):
        exchange = begin(connection)
        exchange.connected(RecordingUpstream(), 0.0)
        exchange.answer_whole(answer(answered), b"no", True)
    assert [entry[:2] for entry in scheduler.heard] == [
        ("began", "10.0.0.1"),
        ("failed", "10.0.0.1"),
        ("ended", "10.0.0.1"),
        ("began", "10.0.0.2"),
        ("answered", "10.0.0.2"),
        ("ended", "10.0.0.2"),
    ]


KEYS = {  # case: (hash_on, fields of the request, key)
    "source": ({}, b"", b"192.0.2.7"),
    "source_in_words": ({"source": True}, b"", b"192.0.2.7"),
    "header": ({"header": "X-User"}, b"x-user: anna\r\n", b"anna"),
    "header_absent": ({"header": "X-User"}, b"", b"192.0.2.7"),
    "host": ({"header": "Host"}, b"", b"shop.example.com"),
    "cookie": ({"cookie": "cart"}, b"Cookie: a=b; cart=17\r\n", b"17"),
    "cookie_absent": ({"cookie": "cart"}, b"Cookie: a=b; xcart=17\r\n", b"192.0.2.7"),
    "path": ({"url": "path"}, b"", b"/a"),
    "url": ({"url": "full"}, b"", b"/a?q=1"),
}


@pytest.mark.parametrize(("hash_on", "fields", "key"), KEYS.values(), ids=KEYS)
def test_what_is_hashed(hash_on, fields, key):
    connection = RecordingConnection(keys={"scheduler": "maglev", "hash_on": HashOn(**hash_on)})
    keys = []
    choose = connection.rule.scheduler.choose
    connection.rule.scheduler = SimpleNamespace(
        choose=lambda key, tried=(): keys.append(key) or choose(key, tried), watcher=None
    )
    exchange = begin(connection, HEAD[:-2].replace(b"/a", b"/a?q=1") + fields + b"\r\n")
    exchange.dial_failed(DialRefused("refused"))
    assert keys == [key, key]
    exchange.downstream_lost()


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
            self.exchange.upstream_failed(UpstreamTimeout("no byte in time"))

    def fails(self):
        if self.exchange.upstream is not None and not self.exchange._is_answer_begun:
            self.exchange.answer_whole(answer(UNAVAILABLE), b"no", True)

    def begins_to_fail(self):
        if self.exchange.upstream is not None and not self.exchange._is_answer_begun:
            self.exchange.upstream.is_unanswered = False
            self.exchange.answer(answer(UNAVAILABLE), b"n")

    def attempt_is_late(self):
        self.exchange.look_at_time(4.0)

    def target_goes_down(self):
        if self._is_dialling():
            self.exchange.go_elsewhere()

    def waits_too_long(self):
        if not self.exchange.is_over:
            self.exchange.fail(QueueTimeout("no connection in time"))

    def client_leaves(self):
        self.exchange.downstream_lost()


EVENTS = sorted(name for name in vars(Player) if not name.startswith("_"))


@given(st.lists(st.sampled_from(EVENTS), max_size=12), st.booleans())
def test_everything_borrowed_is_given_back_once_in_whatever_order_things_happen(names, goes_on):
    on = ("connect", "closed", "timeout", "503")
    connection = RecordingConnection(keys={"retry": Retry(on=on, timeout="2s")})
    connection.goes_on = goes_on
    player = Player(begin(connection))
    for name in [*names, "client_leaves"]:
        getattr(player, name)()
    assert player.exchange.is_over
    assert len(connection.ended) == 1
    assert connection.counts() == NOTHING
    assert connection.rule.requests == 1
    for upstream in player.made:
        # A connection that died is closed twice, which does no harm; one that is lent again is not closed.
        assert set(upstream.events) in ({"released"}, {"closed"})


def test_our_own_want_of_descriptors_is_told_to_the_client_and_held_against_nobody():
    connection = RecordingConnection()
    exchange = begin(connection)
    told = []
    exchange._tell_failure = told.append
    exchange.dial_failed(NoDescriptors("too many open files"))
    assert connection.ended == [(503, "goes on")]
    assert b"\r\nRetry-After: 1\r\n" in connection.sent
    assert [entry for entry in connection.log if entry[0] == "dial"] == [("dial", "10.0.0.1", "")]
    assert told == []
    assert not any(connection.counts())
