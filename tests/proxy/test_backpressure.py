"""Who does not read makes the other side wait, and costs neither memory nor anybody else's connection."""

from __future__ import annotations

import asyncio
import threading

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
SMALL_BUFFER = 4096
MIB = 1 << 20


def answer_of(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


@PROTOCOLS
def test_a_connection_lent_to_a_slow_client_serves_the_next_one(serve, closing, protocol):
    server = closing.enter_context(RealServer(answer_of(20_000)))
    proxy = serve(protocol=protocol, targets=[server.port])
    slow = proxy.connect(protocol, receive_buffer=SMALL_BUFFER)
    connection = proxy.narrow(slow, blocks_at_once=True)
    slow.send(request("/slow"))
    proxy.wait_until(lambda: connection.is_write_blocked and connection.exchange is None)
    assert len(proxy.connect(protocol).ask("/next").body) == 20_000
    assert len(server.conversations) == 1
    assert len(slow.read_answer().body) == 20_000


@PROTOCOLS
def test_a_client_that_does_not_read_gets_no_further_request_served(serve, closing, protocol):
    server = closing.enter_context(RealServer(answer_of(MIB)))
    proxy = serve(protocol=protocol, targets=[server.port])
    greedy = proxy.connect(protocol, receive_buffer=SMALL_BUFFER)
    connection = proxy.narrow(greedy)
    greedy.send(b"".join(request(f"/{number}") for number in range(20)))
    proxy.wait_until(lambda: connection.is_write_blocked)
    other = proxy.connect(protocol)
    for _ in range(10):
        other.ask("/other")
    assert [head.split()[1] for head in server.heads if b"/other" not in head] == [b"/0"]
    assert proxy.call(connection.transport.get_write_buffer_size) < MIB
    assert [len(greedy.read_answer().body) for _ in range(20)] == [MIB] * 20


@PROTOCOLS
def test_replies_of_clb_itself_do_not_pile_up_for_a_client_that_does_not_read(serve, real_server, protocol):
    proxy = serve(protocol=protocol, rules=[rule(real_server.port, url="/known")])
    greedy = proxy.connect(protocol, receive_buffer=SMALL_BUFFER)
    connection = proxy.narrow(greedy)
    sealed = [greedy.sealed(request("/unknown") * 100) for _ in range(100)]
    sender = threading.Thread(target=lambda: [greedy.sock.sendall(piece) for piece in sealed])
    sender.start()
    proxy.wait_until(lambda: connection.is_write_blocked)
    assert proxy.call(connection.transport.get_write_buffer_size) < MIB
    assert {greedy.read_answer().status for _ in range(10_000)} == {404}
    sender.join()


@pytest.mark.parametrize("size", [50 << 10, 100 << 10, MIB], ids=["not_blocked", "blocked_behind_the_end", "blocked"])
@pytest.mark.parametrize("connection_field", ["", "Connection: close\r\n"], ids=["keep_alive", "close"])
@pytest.mark.parametrize("linger", ["0s", "200ms"])
def test_a_client_that_never_reads_its_answer_is_let_go(serve, closing, size, connection_field, linger):
    server = closing.enter_context(RealServer(answer_of(size)))
    timeouts = {"send": "200ms", "keepalive": "200ms", "linger": linger}
    proxy = serve(targets=[server.port], timeouts=timeouts)
    client = proxy.connect(receive_buffer=SMALL_BUFFER)
    proxy.narrow(client)
    client.send(request("/", fields=connection_field))
    proxy.wait_until(lambda: proxy.listener.ledger.connections == 1 and not proxy.listener.connections)


@PROTOCOLS
def test_an_upload_waits_for_a_real_server_that_does_not_read(serve, closing, protocol):
    may_read = threading.Event()

    def script(conversation):
        conversation.read_head()
        may_read.wait(WAIT_S)
        conversation.discard(16 * MIB)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script, receive_buffer=SMALL_BUFFER))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    sealed = [client.sealed(request(method="POST", body=b"x" * 16 * MIB))]
    sender = threading.Thread(target=lambda: client.sock.sendall(sealed[0]))
    sender.start()
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: bool(connection._is_upstream_blocked and connection.exchange.upstream))
    assert proxy.call(connection.exchange.upstream.transport.get_write_buffer_size) < MIB
    may_read.set()
    assert client.read_answer().status == 200
    sender.join()


@PROTOCOLS
def test_a_body_that_comes_before_the_connection_waits_in_bounds_and_in_order(serve, closing, protocol):
    server = closing.enter_context(RealServer())
    proxy = serve(protocol=protocol, targets=[server.port])
    body = b"".join(b"%015d\n" % number for number in range(MIB // 16))
    dial, dialled = threading.Event(), threading.Event()
    (candidate,) = proxy.listener.rules[0].candidates
    connect = candidate.payload._connect

    async def connect_later(exchange):
        dialled.set()
        await asyncio.to_thread(dial.wait, WAIT_S)
        await connect(exchange)

    candidate.payload._connect = connect_later
    client = proxy.connect(protocol)
    sealed = client.sealed(request(method="POST", body=body))
    sender = threading.Thread(target=lambda: client.sock.sendall(sealed))
    sender.start()
    assert dialled.wait(WAIT_S)
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection._is_upstream_blocked)
    assert proxy.call(lambda: connection.exchange._pending_bytes) < MIB // 2
    dial.set()
    assert client.read_answer().status == 200
    assert server.requests[0][1] == body
    sender.join()
