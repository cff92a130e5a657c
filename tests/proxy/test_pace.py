"""Clients that move, but hardly: bodies, answers, and who must not be taken for one of them."""

from __future__ import annotations

import threading

import pytest
from raw_client import request
from real_server import OK, WAIT_S, RealServer

FAST = {"rate_grace": "100ms"}


class Trickle:
    """Does something small again and again until it is told to stop."""

    def __init__(self, step, every_s: float = 0.01) -> None:
        self._stop = threading.Event()
        self._step, self._every_s = step, every_s
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._step()
            except (OSError, EOFError):
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("protocol", ["https", "http"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_body_that_trickles_is_408(serve, real_server, protocol, is_chunked):
    limits = {"min_body_rate": "10KiB", **FAST}
    proxy = serve(protocol=protocol, targets=[real_server.port], limits=limits)
    client = proxy.connect(protocol)
    fields = "Transfer-Encoding: chunked\r\n" if is_chunked else "Content-Length: 100000\r\n"
    client.send(request(method="POST", fields=fields))
    with Trickle(lambda: client.send(b"1\r\nx\r\n" if is_chunked else b"x")):
        assert client.read_answer().status == 408
    assert proxy.log_lines(1)[0]["error_reason"] == "body_too_slow"
    assert proxy.listener.ledger.refused == {"body_too_slow": 1}


def test_a_body_that_is_fast_enough_may_take_its_time(serve, real_server):
    proxy = serve(targets=[real_server.port], limits={"min_body_rate": "1000B", **FAST})
    client = proxy.connect()
    client.send(request(method="POST", fields="Content-Length: 10000\r\n"))
    pause = threading.Event()
    for _ in range(50):
        client.send(b"x" * 200)
        pause.wait(0.01)
    assert client.read_answer().status == 200


def test_a_fast_start_does_not_pay_for_a_slow_rest(serve, closing):
    taken = threading.Event()
    server = closing.enter_context(
        RealServer(script=lambda c: (c.read_head(), c.discard(1_000_000), taken.set(), c.read_to_end()))
    )
    proxy = serve(targets=[server.port], limits={"min_body_rate": "10KiB", **FAST})
    client = proxy.connect()
    client.send(request(method="POST", fields="Content-Length: 2000000\r\n") + b"x" * 1_000_000)
    assert taken.wait(WAIT_S)
    with Trickle(lambda: client.send(b"x")):
        assert client.read_answer().status == 408


def test_a_slow_real_server_is_not_the_clients_fault(serve, closing):
    go_on = threading.Event()
    server = closing.enter_context(
        RealServer(
            script=lambda c: (c.read_head(), go_on.wait(WAIT_S), c.discard(8_000_000), c.send(OK)),
            receive_buffer=4096,
        )
    )
    proxy = serve(targets=[server.port], limits={"min_body_rate": "1GiB", **FAST})
    client = proxy.connect()
    sealed = client.sealed(request(method="POST", body=b"x" * 8_000_000))
    sender = threading.Thread(target=lambda: client.sock.sendall(sealed))
    sender.start()
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection._is_upstream_blocked)
    threading.Event().wait(0.3)
    assert proxy.call(lambda: connection.exchange.pace) is None
    proxy.call(lambda: setattr(proxy.listener, "limits", proxy.listener.limits.model_copy(update={"min_body_rate": 0})))
    go_on.set()
    assert client.read_answer().status == 200
    sender.join()


BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9_999_999


@pytest.mark.parametrize("protocol", ["https", "http"])
def test_a_client_that_hardly_reads_is_cut(serve, closing, protocol):
    server = closing.enter_context(RealServer(BIG))
    limits = {"min_send_rate": "1MiB", **FAST}
    proxy = serve(protocol=protocol, targets=[server.port], limits=limits, timeouts={"send": "1h", "upstream": "1h"})
    client = proxy.connect(protocol, receive_buffer=4096)
    proxy.narrow(client)
    client.send(request())
    with Trickle(lambda: client.sock.recv(10)):
        proxy.wait_until(lambda: not proxy.listener.connections)
    line = proxy.log_lines(1)[0]
    assert (line["status"], line["error_reason"]) == (200, "read_too_slow")


def test_a_client_that_reads_fast_enough_gets_all(serve, closing):
    server = closing.enter_context(RealServer(BIG))
    proxy = serve(targets=[server.port], limits={"min_send_rate": "100KiB", **FAST})
    client = proxy.connect(receive_buffer=65536)
    client.send(request())
    pause = threading.Event()
    left = 9_999_999 + len(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
    while left > 0:
        left -= len(client.receive())
        if left % 7 == 0:
            pause.wait(0.005)
    assert proxy.log_lines(1)[0]["error_reason"] == "-"


def test_an_answer_that_itself_is_slow_is_not_the_clients_fault(serve, closing):
    pause = threading.Event()

    def script(conversation):
        conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        for _ in range(50):
            pause.wait(0.01)
            conversation.send(b"x")

    server = closing.enter_context(RealServer(script=script))
    client = serve(targets=[server.port], limits={"min_send_rate": "1GiB", **FAST}).connect()
    assert client.ask().body == b"x" * 50


def test_both_rates_can_be_off(serve, real_server):
    proxy = serve(targets=[real_server.port], limits={"min_body_rate": "0B", **FAST})
    client = proxy.connect()
    client.send(request(method="POST", fields="Content-Length: 30\r\n"))
    pause = threading.Event()
    for _ in range(30):
        client.send(b"x")
        pause.wait(0.015)
    assert client.read_answer().status == 200
