"""Real servers that close idle connections: requests that may not be sent twice do not meet one that is closing."""

from __future__ import annotations

import threading

import pytest
from live_proxy import rule
from real_server import OK, RealServer

IDLE_S = 1.0
ANNOUNCING = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=1000\r\nContent-Length: 2\r\n\r\nok"


def closes_when_idle(answer):
    def script(conversation):
        while True:
            conversation.socket.settimeout(IDLE_S)
            request = conversation.read_request()
            conversation.socket.settimeout(None)
            assert request[1] == b"x" * 10
            conversation.send(answer)

    return script


def kept(proxy):
    return proxy.listener.rules[0].candidates[0].payload.kept


@pytest.mark.parametrize("answer", [OK, ANNOUNCING], ids=["learned", "announced"])
def test_no_post_meets_a_connection_that_is_being_closed(serve, closing, answer):
    """Clients pause for 0.9 to 1.1 s between their requests, the real server closes after one second."""
    server = closing.enter_context(RealServer(script=closes_when_idle(answer)))
    proxy = serve(targets=[server.port])
    statuses, never = [], threading.Event()

    def ask(pause_s):
        client = proxy.connect()
        for _ in range(4):
            statuses.append(client.ask(method="POST", body=b"x" * 10).status)
            never.wait(pause_s)

    clients = [threading.Thread(target=ask, args=(0.9 + number * 0.02,)) for number in range(11)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert statuses == [200] * 44
    limit = proxy.call(lambda: kept(proxy).limit)
    if answer is ANNOUNCING:
        assert limit.announced_s == 1
    else:
        assert limit.learned_s == pytest.approx(IDLE_S, abs=0.2)
    assert limit.limit_s == pytest.approx(0.8, abs=0.2)
    pool = proxy.listener.rules[0].candidates[0].payload
    assert proxy.call(lambda: pool.raced) == 0


def test_an_end_that_lies_in_the_kernel_is_seen_before_a_connection_is_used(serve, closing):
    """The loop is kept from reading, as it is when the client's request and the end come in the same turn of it."""
    may_end, has_ended = threading.Event(), threading.Event()

    def script(conversation):
        conversation.read_request()
        conversation.send(OK)
        if conversation.number == 0:
            may_end.wait()
            conversation.close()
            has_ended.set()
        conversation.read_to_end()

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_end.set)
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    assert client.ask().status == 200
    proxy.wait_until(lambda: len(kept(proxy).aside) == 1)
    (upstream,) = proxy.call(lambda: list(kept(proxy).aside))
    proxy.call(upstream.transport.pause_reading)
    may_end.set()
    assert has_ended.wait(10)
    assert client.ask(method="POST", body=b"x").status == 200
    assert len(server.conversations) == 2
    assert proxy.call(lambda: kept(proxy).avoided) == 1


def test_what_is_configured_is_shorter_than_what_the_real_server_does(serve, closing):
    server = closing.enter_context(RealServer(script=closes_when_idle(OK)))
    proxy = serve(rules=[rule(server.port, pool={"idle_timeout": "300ms"})])
    client = proxy.connect()
    for _ in range(3):
        assert client.ask(method="POST", body=b"x" * 10).status == 200
        proxy.wait_until(lambda: not len(kept(proxy)))
    assert proxy.call(lambda: kept(proxy).limit.learned_s) is None
