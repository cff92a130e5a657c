"""One client's connection: order, keep-alive, ends of either side, and what a slow client costs."""

from __future__ import annotations

import threading
import time

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer

from clb.proxy.downstream import Phase

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
"""More than the buffers of a narrow client take, and less than half a window: so it comes in one piece and is read
whole before the client is felt."""
SHARED = "Accept: */*\r\nUser-Agent: test\r\n"


@PROTOCOLS
def test_a_request_is_answered_and_the_connection_goes_on(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port])
    client = proxy.connect(protocol)
    for number in range(5):
        assert client.ask(f"/{number}").body == b"ok"
    assert [head.split()[1] for head in real_server.heads] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert len(real_server.conversations) == 1


def test_repeated_fields_behind_an_absolute_target_are_a_request_like_any_other(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask("/a", fields=SHARED).status == 200
    assert client.ask("http://other.example.com/b", fields=SHARED).status == 200
    assert real_server.heads[1].startswith(b"GET /b HTTP/1.1\r\nHost: other.example.com\r\n")


@PROTOCOLS
def test_pipelined_requests_before_the_end_of_input_are_all_answered(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    client.send(request("/0") + request("/1") + request("/2"))
    client.end()
    answers = [client.read_answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert client.read_to_end() == b""


@PROTOCOLS
@pytest.mark.parametrize("count", [1000])
def test_a_thousand_pipelined_requests_are_answered_in_order(serve, closing, protocol, count):
    """Every third is answered by clb itself."""

    def script(conversation):
        while True:
            target = conversation.read_head().split()[1]
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, rules=[rule(server.port, url="/known")]).connect(protocol)
    paths = [f"/known/{number}" if number % 3 else f"/unknown/{number}" for number in range(count)]
    client.send(b"".join(request(path) for path in paths))
    for path in paths:
        answer = client.read_answer()
        assert (answer.status, answer.body if answer.status == 200 else b"") == (
            (200, path.encode()) if "/known" in path else (404, b"")
        )


@PROTOCOLS
def test_pipelined_requests_with_bodies_and_a_head_in_two_pieces(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    chunked = request("/2", "PUT", "Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n0\r\n\r\n"
    wire = request("/1", "POST", body=b"x" * 10) + chunked + request("/3") + request("/4")
    client.send(wire[:-5])
    answers = [client.read_answer() for _ in range(3)]
    client.send(wire[-5:])
    answers.append(client.read_answer())
    assert [answer.status for answer in answers] == [200] * 4
    assert [head.split()[1] for head in real_server.heads] == [b"/1", b"/2", b"/3", b"/4"]
    assert [body for _, body in real_server.requests[:2]] == [b"x" * 10, b"3\r\nabc\r\n0\r\n\r\n"]


@PROTOCOLS
def test_requests_that_come_byte_by_byte(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    for byte in request("/1", "POST", body=b"abc") + request("/2"):
        client.send(bytes([byte]))
    assert [client.read_answer().status for _ in range(2)] == [200, 200]


@PROTOCOLS
def test_a_connection_takes_so_many_requests_and_no_more(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], limits={"keepalive_requests": 3})
    client = proxy.connect(protocol)
    assert [client.ask().all(b"connection") for _ in range(3)] == [[], [], [b"close"]]
    assert client.read_to_end() == b""


@PROTOCOLS
def test_answers_reach_a_client_that_sent_more_than_is_served(serve, real_server, protocol):
    """Closing with unread bytes makes the kernel send a reset, which can overtake the answers."""
    proxy = serve(protocol=protocol, targets=[real_server.port], limits={"keepalive_requests": 3})
    client = proxy.connect(protocol)
    client.send(request() * 20_000)
    assert [client.read_answer().status for _ in range(3)] == [200] * 3
    assert client.read_to_end() == b""
    assert len(real_server.requests) == 3


@PROTOCOLS
@pytest.mark.parametrize("fields", ["Connection: close\r\n", "Connection: Close, X\r\n"])
def test_the_client_may_ask_for_the_end(serve, real_server, protocol, fields):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    assert client.ask(fields=fields).one(b"connection") == b"close"
    assert client.read_to_end() == b""


@PROTOCOLS
def test_a_half_closed_client_gets_its_answer(serve, closing, protocol):
    may_answer = threading.Event()

    def script(conversation):
        conversation.read_request()
        may_answer.wait(WAIT_S)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_answer.set)
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request(method="POST", body=b"x" * 100_000))
    client.end()
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection._has_ended_input)
    may_answer.set()
    assert client.read_answer().status == 200
    assert client.read_to_end() == b""


def test_a_close_notify_alone_ends_an_idle_connection(serve, real_server):
    """As Python's `unwrap` does, which waits for the answer to it."""
    client = serve(targets=[real_server.port]).connect()
    assert client.ask().status == 200
    client.sock.sendall(client.close_notify())
    assert client.read_to_end() == b""


def test_a_close_notify_right_behind_a_request(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    client.sock.sendall(client.sealed(request()) + client.close_notify())
    assert client.read_answer().status == 200
    assert client.read_to_end() == b""


@PROTOCOLS
@pytest.mark.parametrize("sent", [0, 10, 60_000, 300_000])
@pytest.mark.parametrize("how", ["end", "close", "reset"])
def test_a_client_that_leaves_during_its_body(serve, closing, protocol, sent, how):
    server = closing.enter_context(RealServer(script=lambda c: c.read_to_end()))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request(method="POST", fields="Content-Length: 400000\r\n") + b"x" * sent)
    server.wait_for(lambda: len(server.conversations) == 1)
    getattr(client, how)()
    proxy.wait_until(lambda: not proxy.listener.connections)
    (line,) = proxy.log_lines(1)
    assert (line["status"], line["error_reason"]) == (499, "downstream_aborted")


@PROTOCOLS
def test_a_client_that_leaves_during_its_answer_gives_the_real_server_up(serve, closing, protocol):
    ended = threading.Event()

    def script(conversation):
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                conversation.send(b"x" * 65536)
        finally:
            ended.set()

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request())
    client.read_until(b"\r\n\r\n")
    client.reset()
    assert ended.wait(WAIT_S)
    proxy.wait_until(lambda: not proxy.listener.connections)
    assert proxy.log_lines(1)[0]["status"] == 200


@PROTOCOLS
def test_empty_lines_before_a_request_are_passed_over_at_little_cost(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    started_at = time.process_time()
    client.send(b"\r\n" * 500_000 + request())
    assert client.read_answer().status == 200
    assert time.process_time() - started_at < 2


def test_an_idle_connection_rests_and_wakes_up(serve, real_server, monkeypatch):
    monkeypatch.setattr("clb.proxy.downstream.REST_AFTER_S", 0.0)
    proxy = serve(targets=[real_server.port])
    client = proxy.connect()
    for _ in range(2):
        assert client.ask(fields=SHARED).status == 200
        (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
        proxy.wait_until(lambda: connection._last_head is None)  # noqa: B023


def test_a_slow_client_has_time_for_an_early_answer(serve, closing):
    server = closing.enter_context(RealServer(script=lambda c: (c.read_head(), c.send(LARGE), c.read_to_end())))
    proxy = serve(targets=[server.port], timeouts={"linger": "100ms", "send": "1h"})
    client = proxy.connect(receive_buffer=4096)
    connection = proxy.narrow(client, blocks_at_once=True)
    client.send(request(method="POST", fields="Content-Length: 9\r\n"))
    proxy.wait_until(lambda: connection.phase is Phase.LINGER and connection.is_write_blocked)
    assert connection.deadline > proxy.call(connection.clock.now) + 3000
    assert len(client.read_answer().body) == 20_000
    assert client.read_to_end() == b""
    proxy.wait_until(lambda: not proxy.listener.connections)


def test_a_full_listener_refuses_the_next_connection(serve, real_server):
    proxy = serve(protocol="http", targets=[real_server.port], limits={"connections": 1})
    first = proxy.connect("http")
    assert first.ask().status == 200
    with pytest.raises((ConnectionResetError, BrokenPipeError, EOFError)):
        proxy.connect("http").ask()
    assert proxy.listener.ledger.refused == {"connections": 1}
    assert first.ask().status == 200
    first.end()
    assert first.read_to_end() == b""
    proxy.wait_until(lambda: not proxy.listener.connections)
    assert proxy.connect("http").ask().status == 200
