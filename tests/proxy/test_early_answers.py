"""Answers that come while the request is still on its way: passed on, and nothing is confused by what is missing."""

from __future__ import annotations

import socket
import threading

import pytest
from raw_client import request
from real_server import OK, WAIT_S, RealServer

from clb.proxy.downstream import Phase

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
TOO_LARGE_CHUNKED = b"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n"
LENGTH = "Content-Length: 100000\r\n"


def answer_the_head(conversation):
    conversation.read_head()
    conversation.send(OK)
    conversation.read_to_end()


@PROTOCOLS
def test_a_connection_that_holds_half_a_request_is_not_lent_again(serve, closing, protocol):
    """Else the next request would be read as the rest of this one's body."""
    server = closing.enter_context(RealServer(script=answer_the_head))
    proxy = serve(protocol=protocol, targets=[server.port])
    early = proxy.connect(protocol)
    early.send(request(method="POST", fields=LENGTH) + b"some")
    answer = early.read_answer()
    assert (answer.status, answer.one(b"connection")) == (200, b"close")
    assert proxy.connect(protocol).ask("/next").status == 200
    assert len(server.conversations) == 2
    assert b"/next" not in server.conversations[0].received


@PROTOCOLS
def test_what_comes_behind_an_early_answer_is_not_read_as_a_request(serve, closing, protocol):
    server = closing.enter_context(RealServer(script=answer_the_head))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request(method="POST", fields=LENGTH))
    assert client.read_answer().status == 200
    client.send(request("/smuggled") * 10)
    assert client.read_to_end() == b""
    assert all(b"/smuggled" not in one.received for one in server.conversations)


@PROTOCOLS
def test_an_early_answer_is_seen_by_a_client_that_goes_on_sending(serve, closing, protocol):
    """Closing at once would let a reset overtake the answer."""
    server = closing.enter_context(RealServer(script=answer_the_head))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    client.send(request(method="POST", fields="Content-Length: 50000000\r\n"))
    for _ in range(100):
        client.send(b"x" * 100_000)
    assert client.read_answer().status == 200
    assert client.read_to_end() == b""


@PROTOCOLS
def test_an_answer_that_begins_early_streams_while_the_body_comes(serve, closing, protocol):
    def script(conversation):
        conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        for _ in range(3):
            conversation.send(conversation.read(10))

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    client.send(request(method="POST", fields="Content-Length: 30\r\n"))
    client.read_until(b"\r\n\r\n")
    for _ in range(3):
        client.send(b"0123456789")
        assert client.read(10) == b"0123456789"


@PROTOCOLS
def test_an_answer_before_the_real_server_took_the_whole_body_leaves_the_client_served(serve, closing, protocol):
    """All of the request is with clb, some of it still waits to be written: the connection is not lent again."""
    may_answer = threading.Event()

    def script(conversation):
        conversation.read_head()
        if conversation.number == 0:
            assert may_answer.wait(WAIT_S)
        conversation.send(OK)
        release.wait(WAIT_S)

    release = threading.Event()
    server = closing.enter_context(RealServer(script=script, receive_buffer=4096))
    closing.callback(release.set)
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request(method="POST", fields="Content-Length: 155000\r\n"))
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection.exchange is not None and connection.exchange.upstream is not None)
    upstream = connection.exchange.upstream.transport.get_extra_info("socket")
    proxy.call(lambda: upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096))
    client.send(b"x" * 125_000)
    proxy.wait_until(lambda: connection._body_remaining == 30_000)
    client.send(b"x" * 30_000)
    proxy.wait_until(lambda: connection._is_upstream_blocked and connection.phase is Phase.ANSWER)
    may_answer.set()
    assert client.read_answer().status == 200
    assert client.ask("/next").status == 200
    assert len(server.conversations) == 2


@PROTOCOLS
@pytest.mark.parametrize("size", [50_000, 3_000_000], ids=["all_sent", "still_sending"])
@pytest.mark.parametrize("answer", [TOO_LARGE, TOO_LARGE_CHUNKED], ids=["length", "chunked"])
def test_an_answer_that_a_reset_follows_is_not_lost(serve, closing, protocol, size, answer):
    """A real server that refuses a body answers and closes, and its kernel resets what is still coming in."""

    def script(conversation):
        conversation.read_head()
        conversation.send(answer)
        conversation.socket.close()

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(protocol=protocol, targets=[server.port])
    for _ in range(10):
        client = proxy.connect(protocol)
        client.send(request(method="POST", fields=f"Content-Length: {size}\r\n"))
        for _ in range(size // 50_000):
            client.send(b"x" * 50_000)
        assert client.read_answer().status == 413


def test_a_real_server_that_closes_during_the_body_is_a_bad_gateway(serve, closing):
    server = closing.enter_context(RealServer(script=lambda c: c.read_head()))
    client = serve(targets=[server.port]).connect()
    client.send(request(method="POST", fields=LENGTH) + b"some")
    assert client.read_answer().status == 502
    assert client.read_to_end() == b""


def test_a_real_server_that_ends_its_side_during_the_body_is_not_waited_for(serve, closing):
    """It sends no answer any more, even if it never takes the rest of the body."""
    may_end = threading.Event()

    def script(conversation):
        conversation.read_head()
        assert may_end.wait(WAIT_S)
        conversation.end()
        release.wait(WAIT_S)

    release = threading.Event()
    server = closing.enter_context(RealServer(script=script, receive_buffer=4096))
    closing.callback(release.set)
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    sealed = client.sealed(request(method="POST", body=b"x" * 8_000_000))
    sender = threading.Thread(target=lambda: client.sock.sendall(sealed))
    sender.start()
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection._is_upstream_blocked and connection.exchange.upstream is not None)
    may_end.set()
    assert client.read_answer().status == 502
    sender.join()
