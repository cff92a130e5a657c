"""Kept connections that died, targets that refuse: another attempt where that is safe, a plain answer where not."""

from __future__ import annotations

import threading

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer


def answers_once_then(end):
    """A script that serves one request on each of its first connections, and ends when the second arrives."""

    def script(conversation):
        conversation.read_request()
        conversation.send(OK)
        if conversation.number == 0:
            conversation.read_head()
            end(conversation)
        else:
            while True:
                conversation.read_request()
                conversation.send(OK)

    return script


ENDS = {"closes": lambda one: one.close(), "resets": lambda one: one.reset(), "ends": lambda one: one.end()}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_a_request_that_met_a_dead_connection_is_sent_again(serve, closing, end, method):
    server = closing.enter_context(RealServer(script=answers_once_then(end)))
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    assert client.ask("/first").status == 200
    assert client.ask("/second", method=method).status == 200
    first, second = proxy.log_lines(2)
    assert (first["retries"], second["retries"], second["status"]) == (0, 1, 200)
    assert len(server.conversations) == 2


UNSAFE = {
    "post": ("POST", b""),
    "patch": ("PATCH", b""),
    "put_with_body": ("PUT", b"x"),
    "post_with_body": ("POST", b"x"),
}


@pytest.mark.parametrize(("method", "body"), UNSAFE.values(), ids=UNSAFE)
def test_a_request_that_may_have_been_acted_on_is_not_sent_twice(serve, closing, method, body):
    server = closing.enter_context(RealServer(script=answers_once_then(ENDS["resets"])))
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    assert client.ask("/first").status == 200
    client.send(request("/second", method=method, body=body))
    assert client.read_answer().status == 502
    assert proxy.log_lines(2)[1]["retries"] == 0
    assert len(server.conversations) == 1


def test_a_connection_that_was_closed_while_it_was_idle_is_not_used(serve, closing):
    def script(conversation):
        conversation.read_request()
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(targets=[server.port])
    pool = proxy.listener.rules[0].candidates[0].payload
    client = proxy.connect()
    for _ in range(3):
        assert client.ask(method="POST", body=b"x").status == 200
        proxy.wait_until(lambda: not pool.open_connections)
    assert [line["retries"] for line in proxy.log_lines(3)] == [0, 0, 0]


def test_bytes_on_an_idle_connection_are_nobodys_answer(serve, closing):
    go_on = threading.Event()

    def script(conversation):
        conversation.read_request()
        conversation.send(OK)
        if conversation.number == 0:
            go_on.wait(WAIT_S)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        conversation.read_to_end()

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(targets=[server.port])
    pool = proxy.listener.rules[0].candidates[0].payload
    client = proxy.connect()
    assert client.ask().body == b"ok"
    proxy.wait_until(lambda: len(pool.idle) == 1)
    go_on.set()
    proxy.wait_until(lambda: not pool.open_connections)
    assert client.ask().body == b"ok"


def test_bytes_behind_an_answer_are_nobodys_answer(serve, closing):
    server = closing.enter_context(RealServer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    client = serve(targets=[server.port]).connect()
    for _ in range(3):
        assert client.ask().body == b"ok"
    assert len(server.conversations) == 3


def test_a_fresh_connection_that_dies_is_not_tried_again(serve, closing):
    server = closing.enter_context(RealServer(script=lambda c: c.read_request()))
    proxy = serve(targets=[server.port])
    assert proxy.connect().ask().status == 502
    assert len(server.conversations) == 1


def test_a_dead_connection_with_half_an_answer_is_not_tried_again(serve, closing):
    def script(conversation):
        conversation.read_request()
        conversation.send(OK)
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent")

    server = closing.enter_context(RealServer(script=script))
    client = serve(targets=[server.port]).connect()
    assert client.ask().status == 200
    assert client.ask().status == 502
    assert len(server.conversations) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connect_goes_to_another_target(serve, real_server, method, refused_port):
    proxy = serve(targets=[refused_port(), real_server.port])
    client = proxy.connect()
    for _ in range(4):
        assert client.ask(method=method, body=b"body" if method == "POST" else b"").status == 200
    assert len(real_server.requests) == 4
    assert {body for _, body in real_server.requests} == {b"body" if method == "POST" else b""}
    lines = proxy.log_lines(4)
    assert {line["retries"] for line in lines[1:]} == {1}  # Each retry takes the turn of the target that works.
    assert {line["upstream_addr"] for line in lines} == {f"127.0.0.1:{real_server.port}"}


def test_no_target_left_is_a_bad_gateway(serve, refused_port):
    proxy = serve(targets=[refused_port(), refused_port()])
    client = proxy.connect()
    answer = client.ask()
    assert answer.status == 502
    (line,) = proxy.log_lines(1)
    assert (line["status"], line["retries"], line["error_reason"]) == (502, 1, "dial_refused")
    assert client.ask().status == 502


def test_a_single_target_that_refuses_was_not_retried(serve, refused_port):
    proxy = serve(targets=[refused_port()])
    assert proxy.connect().ask().status == 502
    assert proxy.log_lines(1)[0]["retries"] == 0


@pytest.mark.parametrize(("attempts", "reached"), [(0, False), (1, False), (2, True)])
def test_attempts_are_bounded(serve, real_server, attempts, reached, refused_port):
    rules = [rule(refused_port(), refused_port(), real_server.port, retry={"attempts": attempts})]
    proxy = serve(rules=rules)
    statuses = set()
    for _ in range(3):  # Wherever the round begins, one of three begins at the first refusing target.
        statuses.add(proxy.connect().ask().status)
    assert (502 not in statuses) == reached


def test_the_budget_bounds_retries_that_are_under_way(serve, closing):
    """One retry may live; while it waits for its answer, another request's is refused."""
    may_answer, reached = threading.Event(), threading.Event()

    def script(conversation):
        conversation.read_request()
        reached.set()
        may_answer.wait(WAIT_S)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    resetting = closing.enter_context(RealServer(script=read_and_reset))
    closing.callback(may_answer.set)
    rules = [rule(resetting.port, server.port, retry={"budget": 0, "budget_minimum": 1})]
    rules[0]["targets"][1]["weight"] = 1
    rules[0]["targets"][0]["weight"] = 100
    proxy = serve(rules=rules)
    first, second = proxy.connect(), proxy.connect()
    first.send(request())
    assert reached.wait(WAIT_S)
    assert proxy.call(lambda: proxy.listener.rules[0].budget.live_retries) == 1
    assert second.ask().status == 502
    may_answer.set()
    assert first.read_answer().status == 200
    assert proxy.connect().ask().status == 200


def read_and_reset(conversation):
    conversation.read_request()
    conversation.reset()


BREAKS = {
    "resets_behind_the_request": read_and_reset,
    "closes_behind_the_request": lambda one: one.read_request(),
    "resets_at_once": lambda one: one.reset(),
    "closes_at_once": lambda one: one.close(),
}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=BREAKS)
def test_a_real_server_that_breaks_costs_no_idempotent_request(serve, closing, real_server, breaks):
    broken = closing.enter_context(RealServer(script=breaks))
    proxy = serve(targets=[broken.port, real_server.port])
    for method in ("GET", "HEAD", "PUT", "DELETE", "GET", "GET"):
        assert proxy.connect().ask(method=method).status == 200
    assert broken.conversations
    assert len(real_server.requests) == 6


def test_a_real_server_that_is_killed_under_load_costs_no_idempotent_request(serve, closing, real_server):
    """Both keep connections, half of the requests are under way at the one that goes, and it never comes back."""
    under_way = threading.Semaphore(0)

    def script(conversation):
        while True:
            conversation.read_request()
            if is_killed.is_set():
                under_way.release()
                may_die.wait(WAIT_S)
                conversation.reset()
            conversation.send(OK)

    is_killed, may_die = threading.Event(), threading.Event()
    closing.callback(may_die.set)
    doomed = closing.enter_context(RealServer(script=script))
    proxy = serve(targets=[doomed.port, real_server.port])
    clients = [proxy.connect() for _ in range(40)]
    for client in clients:
        assert client.ask().status == 200
    is_killed.set()
    for client in clients:
        client.send(request())
    for _ in range(20):
        assert under_way.acquire(timeout=WAIT_S)
    doomed.stop()
    may_die.set()
    assert {client.read_answer().status for client in clients} == {200}
    for client in clients:
        assert client.ask().status == 200


def test_a_server_error_goes_to_another_target_only_if_that_is_asked_for(serve, closing, real_server):
    failing = closing.enter_context(RealServer(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"))
    client = serve(targets=[failing.port, real_server.port]).connect()
    assert sorted(client.ask().status for _ in range(4)) == [200, 200, 503, 503]
    client = serve(rules=[rule(failing.port, real_server.port, retry={"on": ["503"]})]).connect()
    assert [client.ask().status for _ in range(4)] == [200] * 4
    assert {client.ask(method="POST", body=b"x").status for _ in range(4)} == {200, 503}


def test_a_chunked_server_error_leaves_nothing_behind(serve, closing, real_server):
    busy = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
    failing = closing.enter_context(RealServer(busy))
    client = serve(rules=[rule(failing.port, real_server.port, retry={"on": [503]})]).connect()
    assert [client.ask().body for _ in range(4)] == [b"ok"] * 4


@pytest.mark.parametrize(("retry", "timeouts"), [({"timeout": "100ms"}, {}), ({}, {"upstream": "100ms"})])
def test_an_attempt_that_takes_too_long_goes_to_another_target(serve, closing, real_server, retry, timeouts):
    silent = closing.enter_context(RealServer(script=lambda one: one.read_to_end()))
    rules = [rule(silent.port, real_server.port, retry={"on": ["timeout"], **retry})]
    proxy = serve(rules=rules, timeouts=timeouts)
    client = proxy.connect()
    assert [client.ask().status for _ in range(4)] == [200] * 4
    assert 1 in {line["retries"] for line in proxy.log_lines(4)}
