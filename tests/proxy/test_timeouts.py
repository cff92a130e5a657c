"""Every time-out of a listener: who is told what, and that waiting ends at all."""

from __future__ import annotations

import ssl
import threading

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])


def silent(conversation):
    conversation.read_to_end()


@pytest.fixture
def silent_server(closing):
    return closing.enter_context(RealServer(script=silent))


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01\x02"], ids=["nothing", "half_a_record"])
def test_a_handshake_that_stalls_is_dropped_and_counted(serve, real_server, start):
    proxy = serve(targets=[real_server.port], timeouts={"handshake": "100ms"})
    client = proxy.connect(context=None, prefix=start)
    with pytest.raises(ConnectionResetError):
        client.receive()
    assert proxy.listener.ledger.handshakes_failed == {"timeout": 1}
    assert [event[1:] for event in proxy.events.events] == [("timeout", "handshake failed")]


@PROTOCOLS
@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHo", b"G", b"\r"], ids=["fields", "one_byte", "cr"])
def test_a_head_that_does_not_end_is_408(serve, real_server, protocol, sent):
    proxy = serve(protocol=protocol, targets=[real_server.port], timeouts={"client_header": "100ms"})
    client = proxy.connect(protocol)
    client.send(sent)
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (408, b"close")
    assert client.read_to_end() == b""
    assert proxy.listener.ledger.refused == {"header_timeout": 1}


@PROTOCOLS
def test_a_second_head_has_its_own_time_however_long_the_connection_was_idle(serve, real_server, protocol):
    timeouts = {"client_header": "100ms", "keepalive": "1h"}
    client = serve(protocol=protocol, targets=[real_server.port], timeouts=timeouts).connect(protocol)
    assert client.ask().status == 200
    client.send(b"GET")
    assert client.read_answer().status == 408


@PROTOCOLS
def test_bytes_that_trickle_in_do_not_lengthen_the_time_for_a_head(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], timeouts={"client_header": "200ms"})
    client = proxy.connect(protocol)
    assert client.ask().status == 200
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.01):
            client.send(b"G")

    sender = threading.Thread(target=trickle)
    sender.start()
    status = client.read_answer().status
    stop.set()
    sender.join()
    assert status == 408


@PROTOCOLS
def test_a_connection_without_a_request_is_closed_in_silence(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], timeouts={"client_header": "100ms"})
    assert proxy.connect(protocol).read_to_end() == b""


@PROTOCOLS
def test_an_idle_connection_is_closed_in_silence(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port], timeouts={"keepalive": "100ms"}).connect(protocol)
    assert client.ask().status == 200
    assert client.read_to_end() == b""


def test_a_keepalive_of_zero_closes_behind_each_answer(serve, real_server):
    client = serve(targets=[real_server.port], timeouts={"keepalive": "0s"}).connect()
    assert client.ask().one(b"connection") == b"close"
    assert client.read_to_end() == b""


FRAMINGS = {"length": "Content-Length: 10\r\n", "chunked": "Transfer-Encoding: chunked\r\n"}


@PROTOCOLS
@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS)
def test_a_body_that_stands_still_is_408(serve, silent_server, protocol, fields):
    proxy = serve(protocol=protocol, targets=[silent_server.port], timeouts={"client_body": "100ms"})
    client = proxy.connect(protocol)
    client.send(request(method="POST", fields=fields) + b"5")
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (408, b"close")
    assert client.read_to_end() == b""
    assert proxy.log_lines(1)[0]["error_reason"] == "body_timeout"


EXPECTATION = "Expect: 100-continue\r\nContent-Length: 10\r\n"


def test_a_real_server_that_does_not_say_continue_is_504(serve, silent_server):
    proxy = serve(targets=[silent_server.port], timeouts={"client_body": "1h", "upstream": "100ms"})
    client = proxy.connect()
    client.send(request(method="POST", fields=EXPECTATION))
    assert client.read_answer().status == 504


def test_a_client_that_does_not_continue_is_408(serve, closing):
    server = closing.enter_context(
        RealServer(script=lambda c: (c.read_head(), c.send(b"HTTP/1.1 100 Continue\r\n\r\n"), c.read_to_end()))
    )
    client = serve(targets=[server.port], timeouts={"client_body": "100ms", "upstream": "1h"}).connect()
    client.send(request(method="POST", fields=EXPECTATION))
    assert [client.read_answer().status for _ in range(2)] == [100, 408]


def test_a_body_that_goes_on_is_not_timed_as_a_whole(serve, real_server):
    proxy = serve(targets=[real_server.port], timeouts={"client_body": "300ms"})
    client = proxy.connect()
    client.send(request(method="POST", fields="Content-Length: 40\r\n"))
    pause = threading.Event()
    for _ in range(40):
        pause.wait(0.015)
        client.send(b"x")
    assert client.read_answer().status == 200


@PROTOCOLS
def test_an_answer_that_does_not_come_is_504(serve, silent_server, protocol):
    proxy = serve(protocol=protocol, targets=[silent_server.port], timeouts={"upstream": "100ms"})
    client = proxy.connect(protocol)
    assert client.ask().status == 504
    (line,) = proxy.log_lines(1)
    assert (line["status"], line["error_reason"]) == (504, "upstream_timeout")
    assert client.ask().status == 504


def test_an_answer_that_does_not_come_behind_a_body_is_504(serve, silent_server):
    proxy = serve(targets=[silent_server.port], timeouts={"upstream": "100ms", "client_body": "1h"})
    assert proxy.connect().ask(method="POST", body=b"x" * 100_000).status == 504


@PROTOCOLS
@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"\r\nab"]
)
def test_an_answer_that_stands_still_is_cut(serve, closing, protocol, body):
    """What the client has must not pass for the whole answer."""
    server = closing.enter_context(
        RealServer(script=lambda c: (c.read_head(), c.send(b"HTTP/1.1 200 OK\r\n" + body), c.read_to_end()))
    )
    proxy = serve(protocol=protocol, targets=[server.port], timeouts={"upstream": "100ms"})
    client = proxy.connect(protocol)
    client.send(request())
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_answer()
    assert proxy.log_lines(1)[0]["error_reason"] == "upstream_timeout"


def test_a_connect_that_takes_too_long_is_504(serve):
    """An address of a network made for documentation: nobody answers, and nobody refuses."""
    rules = [rule()]
    rules[0]["targets"] = [{"address": "192.0.2.1", "port": 9}]
    proxy = serve(rules=rules, timeouts={"connect": "100ms"})
    (candidate,) = proxy.listener.rules[0].candidates
    candidate.payload._loop = NeverConnects(proxy._loop)
    assert proxy.connect().ask().status == 504
    assert proxy.log_lines(1)[0]["error_reason"] == "dial_timeout"


def test_a_connect_that_takes_too_long_goes_to_another_target(serve, real_server):
    proxy = serve(targets=[real_server.port, real_server.port + 1], timeouts={"connect": "100ms"})
    candidate = proxy.listener.rules[0].candidates[1]
    candidate.payload._loop = NeverConnects(proxy._loop)
    client = proxy.connect()
    assert [client.ask().status for _ in range(3)] == [200] * 3


class NeverConnects:
    """A loop on which every connect waits for ever, as with a firewall that drops."""

    def __init__(self, loop):
        self._loop = loop

    def __getattr__(self, name):
        return getattr(self._loop, name)

    async def create_connection(self, *_):
        await self._loop.create_future()


def test_a_client_that_does_not_read_is_cut_after_the_send_time(serve, closing):
    server = closing.enter_context(RealServer(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9999999))
    proxy = serve(targets=[server.port], timeouts={"send": "100ms", "upstream": "1h"})
    client = proxy.connect(receive_buffer=4096)
    client.send(request())
    proxy.wait_until(lambda: proxy.listener.ledger.connections == 1 and not proxy.listener.connections)
    (line,) = proxy.log_lines(1)
    assert line["status"] == 200
    assert proxy.call(proxy.listener.ledger.snapshot).unsent_out > 0


def test_a_real_server_that_does_not_read_is_504(serve, closing):
    release = threading.Event()

    def script(conversation):
        conversation.read_head()
        release.wait(WAIT_S)

    server = closing.enter_context(RealServer(script=script, receive_buffer=4096))
    closing.callback(release.set)
    proxy = serve(targets=[server.port], timeouts={"client_body": "300ms"})
    client = proxy.connect()
    sealed = client.sealed(request(method="POST", body=b"x" * 16_000_000))
    sender = threading.Thread(target=lambda: client.sock.sendall(sealed))
    sender.start()
    assert client.read_answer().status == 504
    sender.join()


def test_a_client_has_its_whole_time_again_when_the_real_server_reads_on(serve, closing):
    may_read = threading.Event()

    def script(conversation):
        conversation.read_head()
        may_read.wait(WAIT_S)
        conversation.discard(16_000_000)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script, receive_buffer=4096))
    proxy = serve(targets=[server.port], timeouts={"client_body": "1h"})
    client = proxy.connect()
    sealed = client.sealed(request(method="POST", fields="Content-Length: 16000000\r\n") + b"x" * 15_999_999)
    sender = threading.Thread(target=lambda: client.sock.sendall(sealed))
    sender.start()
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection._is_upstream_blocked)
    proxy.call(lambda: setattr(connection, "deadline", connection.clock.now() + 1))
    may_read.set()
    proxy.wait_until(lambda: connection.deadline > connection.clock.now() + 3000)
    sender.join()
    client.send(b"x")
    assert client.read_answer().status == 200


def test_a_client_that_lingers_is_let_go(serve, real_server):
    proxy = serve(targets=[real_server.port], timeouts={"linger": "100ms"})
    client = proxy.connect()
    client.send(b"nonsense\r\n\r\n")
    assert client.read_answer().status == 400
    assert client.read_to_end() == b""
    proxy.wait_until(lambda: not proxy.listener.connections)


def test_a_silent_client_of_tls_1_2_as_well(serve, real_server):
    client = serve(targets=[real_server.port], timeouts={"keepalive": "100ms"}).connect(version=ssl.TLSVersion.TLSv1_2)
    assert client.ask().status == 200
    assert client.read_to_end() == b""


@PROTOCOLS
def test_a_whole_request_that_takes_too_long_is_504(serve, silent_server, protocol):
    proxy = serve(protocol=protocol, targets=[silent_server.port], timeouts={"request": "100ms"})
    client = proxy.connect(protocol)
    assert client.ask().status == 504
    assert proxy.log_lines(1)[0]["error_reason"] == "request_timeout"
    assert client.ask().status == 504


def test_an_answer_that_drips_is_cut_when_the_time_of_the_request_is_over(serve, closing):
    is_over = threading.Event()

    def drip(conversation):
        conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not is_over.wait(0.01):
            conversation.send(b"x")

    server = closing.enter_context(RealServer(script=drip))
    closing.callback(is_over.set)
    proxy = serve(targets=[server.port], timeouts={"request": "200ms", "upstream": "1h"})
    client = proxy.connect()
    client.send(request())
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_answer()
    assert proxy.log_lines(1)[0]["error_reason"] == "request_timeout"
