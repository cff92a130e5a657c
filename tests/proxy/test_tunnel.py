"""An upgraded connection: bytes pass as they come, both ways, until one side ends or nobody says anything."""

from __future__ import annotations

import threading

import pytest
from raw_client import request
from real_server import WAIT_S, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


def echo(conversation):
    conversation.read_head()
    conversation.send(SWITCHING)
    while data := conversation.read_until(b"\n"):
        conversation.send(data)


@pytest.fixture
def server(closing):
    return closing.enter_context(RealServer(script=echo))


def upgrade(client):
    client.send(request("/chat", fields=UPGRADE))
    answer = client.read_answer()
    assert answer.status == 101
    return answer


@PROTOCOLS
def test_bytes_pass_both_ways(serve, server, protocol):
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    answer = upgrade(client)
    assert answer.one(b"upgrade") == b"websocket"
    assert answer.one(b"connection").lower() == b"upgrade"
    assert answer.one(b"sec-websocket-accept") == b"x"
    for _ in range(3):
        client.send(b"\x00\xff not HTTP \r\n")
        assert client.read_until(b"\n") == b"\x00\xff not HTTP \r\n"
    head = server.conversations[0].received.partition(b"\r\n\r\n")[0].lower() + b"\r\n"
    assert b"\r\nconnection: upgrade\r\n" in head
    assert b"\r\nupgrade: websocket\r\n" in head


def test_the_bytes_of_a_tunnel_are_billed_and_logged_while_it_is_open_and_at_its_end(serve, server):
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    head = request("/chat", fields=UPGRADE)
    upgrade(client)
    client.send(b"x" * 999 + b"\n")
    client.read_until(b"\n")
    assert proxy.call(proxy.listener.ledger.snapshot).billed_in == len(head) + 1000
    client.end()
    assert client.read_to_end() == b""
    (line,) = proxy.log_lines(1)
    assert (line["status"], line["protocol_type"], line["request_length"]) == (101, "WSS", len(head) + 1000)


@PROTOCOLS
def test_bytes_sent_along_with_the_request_reach_the_real_server(serve, server, protocol):
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    client.send(request("/chat", fields=UPGRADE) + b"early\n")
    assert client.read_answer().status == 101
    assert client.read_until(b"\n") == b"early\n"
    client.send(b"later\n")
    assert client.read_until(b"\n") == b"later\n"


@PROTOCOLS
def test_bytes_sent_along_with_the_101_reach_the_client(serve, closing, protocol):
    def script(conversation):
        conversation.read_head()
        conversation.send(SWITCHING + b"hello")
        conversation.read_to_end()

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    upgrade(client)
    assert client.read(5) == b"hello"


@PROTOCOLS
def test_the_clients_end_reaches_the_real_server_which_may_still_speak(serve, closing, protocol):
    def script(conversation):
        conversation.read_head()
        conversation.send(SWITCHING)
        assert conversation.read_to_end() == b"last words"
        conversation.send(b"good bye")

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    upgrade(client)
    client.send(b"last words")
    client.end()
    assert client.read_to_end() == b"good bye"


@PROTOCOLS
def test_an_end_before_the_tunnel_stands_reaches_the_real_server_as_well(serve, closing, protocol):
    may_answer = threading.Event()

    def script(conversation):
        conversation.read_head()
        may_answer.wait(WAIT_S)
        conversation.send(SWITCHING)
        conversation.send(conversation.read_to_end() + b" and good bye")

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request("/chat", fields=UPGRADE))
    client.end()
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: connection._has_ended_input)
    may_answer.set()
    assert client.read_answer().status == 101
    assert client.read_to_end() == b" and good bye"


@PROTOCOLS
def test_the_real_servers_end_ends_the_clients_connection_in_order(serve, closing, protocol):
    def script(conversation):
        conversation.read_head()
        conversation.send(SWITCHING + b"x" * 300_000)

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    upgrade(client)
    assert client.read_to_end() == b"x" * 300_000


def test_a_reset_by_the_real_server_is_no_orderly_end(serve, closing):
    def script(conversation):
        conversation.read_head()
        conversation.send(SWITCHING)
        conversation.read_until(b"\n")
        conversation.reset()

    server = closing.enter_context(RealServer(script=script))
    client = serve(targets=[server.port]).connect()
    upgrade(client)
    client.send(b"\n")
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read(1)


def test_a_silent_tunnel_ends_after_its_idle_timeout(serve, server):
    proxy = serve(targets=[server.port], timeouts={"tunnel": "300ms"})
    client = proxy.connect()
    upgrade(client)
    client.send(b"a\n")
    assert client.read_to_end() == b"a\n"
    server.wait_for(lambda: len(server.conversations) == 1)


def test_a_slow_client_does_not_shorten_the_idle_timeout(serve, closing):
    """Once the client reads again, the time-out is the tunnel's and not that of an answer."""
    may_end = threading.Event()

    def script(conversation):
        conversation.read_head()
        conversation.send(SWITCHING + b"x" * (1 << 20))
        may_end.wait(WAIT_S)
        conversation.send(b"end")

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(targets=[server.port], timeouts={"upstream": "100ms", "tunnel": "1h"})
    client = proxy.connect(receive_buffer=4096)
    connection = proxy.narrow(client)
    upgrade(client)
    proxy.wait_until(lambda: connection.is_write_blocked)
    client.read(1 << 20)
    proxy.wait_until(lambda: not connection.is_write_blocked)
    assert proxy.call(lambda: connection.deadline - connection.clock.now()) > 3000
    may_end.set()
    assert client.read_to_end() == b"end"


REFUSED_UPGRADES = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "not_named_in_connection": "Upgrade: websocket\r\n",
    "two_protocols": "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
}


@pytest.mark.parametrize("fields", REFUSED_UPGRADES.values(), ids=REFUSED_UPGRADES)
def test_other_upgrades_are_taken_out_and_the_request_is_served(serve, real_server, fields):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask(fields=fields).status == 200
    head = real_server.heads[0].lower()
    assert b"upgrade" not in head
    assert b"http2-settings" not in head or b"connection" in fields.lower().encode()
    assert client.ask().status == 200


def test_an_upgrade_that_the_real_server_declines_is_an_ordinary_answer(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask(fields=UPGRADE).status == 200
    assert client.ask("/next").status == 200


def test_a_101_that_nobody_asked_for_is_a_bad_gateway(serve, closing):
    server = closing.enter_context(RealServer(SWITCHING))
    client = serve(targets=[server.port]).connect()
    assert client.ask().status == 502
