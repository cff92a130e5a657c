"""Connections to real servers: reused, bounded, queued for, and let go when idle."""

from __future__ import annotations

import asyncio
import errno
import threading
from types import SimpleNamespace

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer

from clb.config.models import Pool
from clb.proxy.pool import TargetPool


@pytest.fixture
def gate(closing):
    """A real server that answers `/wait` only when `release()` is called, once for each call."""
    return closing.enter_context(Gate())


class Gate(RealServer):
    def __init__(self):
        super().__init__()
        self._permits = threading.Semaphore(0)
        self.script = self._play_gate

    def _play_gate(self, conversation):
        while True:
            request_ = conversation.read_request()
            self.record(request_)
            if b" /wait" in request_[0]:
                assert self._permits.acquire(timeout=WAIT_S)
            conversation.send(OK)

    def release(self, times=1):
        self._permits.release(times)

    def __exit__(self, *error):
        self.release(1000)
        super().__exit__(*error)


def pool_of(proxy):
    return proxy.listener.rules[0].candidates[0].payload


def test_connections_are_bounded_and_the_queue_is_served_in_order(serve, gate):
    proxy = serve(rules=[rule(gate.port, pool={"connections": 2})])
    clients = [proxy.connect() for _ in range(6)]
    for number, client in enumerate(clients):
        client.send(request(f"/wait/{number}"))
        if number < 2:
            gate.wait_for(lambda: len(gate.requests) == number + 1)  # noqa: B023
        else:
            proxy.wait_until(lambda: pool_of(proxy).waiting == number - 1)  # noqa: B023
    for expected in range(3, 7):
        gate.release()
        gate.wait_for(lambda: len(gate.requests) == expected)  # noqa: B023
    gate.release(2)
    assert [client.read_answer().status for client in clients] == [200] * 6
    assert [head.split()[1] for head in gate.heads] == [b"/wait/%d" % number for number in range(6)]
    assert len(gate.conversations) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_waits_for_too_long_gets_503(serve, gate, method):
    proxy = serve(rules=[rule(gate.port, pool={"connections": 1})], timeouts={"queue": "100ms"})
    first, second = proxy.connect(), proxy.connect()
    first.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 1)
    answer = second.ask(method=method, body=b"x" if method == "POST" else b"")
    assert answer.status == 503
    gate.release()
    assert first.read_answer().status == 200
    assert proxy.log_lines(2)[0]["error_reason"] == "queue_timeout"
    assert proxy.listener.ledger.refused["queue_timeout"] == 1
    if method == "GET":
        assert second.ask().status == 200


def test_a_full_queue_is_503_at_once(serve, gate):
    proxy = serve(rules=[rule(gate.port, pool={"connections": 1, "queue": 1})])
    first, second, third = (proxy.connect() for _ in range(3))
    first.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 1)
    second.send(request("/wait"))
    proxy.wait_until(lambda: pool_of(proxy).waiting == 1)
    assert third.ask().status == 503
    gate.release(2)
    assert (first.read_answer().status, second.read_answer().status) == (200, 200)
    assert third.ask().status == 200


def test_a_client_that_leaves_the_queue_is_forgotten(serve, gate):
    proxy = serve(rules=[rule(gate.port, pool={"connections": 1})])
    first, second = proxy.connect(), proxy.connect()
    first.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 1)
    second.send(request("/gone"))
    proxy.wait_until(lambda: pool_of(proxy).waiting == 1)
    second.reset()
    proxy.wait_until(lambda: pool_of(proxy).waiting == 0)
    gate.release()
    assert first.read_answer().status == 200
    assert len(gate.requests) == 1


def test_a_connection_that_was_dialled_for_a_client_that_left_is_kept_for_the_next(serve, gate):
    proxy = serve(rules=[rule(gate.port)])
    client = proxy.connect()
    client.send(request("/wait"))
    client.reset()
    proxy.wait_until(lambda: not proxy.listener.connections)
    gate.release()
    assert proxy.connect().ask().status == 200


def test_when_a_connection_dies_the_queue_goes_on_with_a_new_one(serve, closing):
    def script(conversation):
        conversation.read_request()
        if conversation.number == 0:
            may_die.wait(WAIT_S)
        else:
            conversation.send(OK)
            conversation.read_to_end()

    may_die = threading.Event()
    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_die.set)
    proxy = serve(rules=[rule(server.port, pool={"connections": 1})])
    first, second = proxy.connect(), proxy.connect()
    first.send(request("/first"))
    server.wait_for(lambda: len(server.conversations) == 1)
    second.send(request("/second"))
    proxy.wait_until(lambda: pool_of(proxy).waiting == 1)
    may_die.set()
    assert first.read_answer().status == 502
    assert second.read_answer().status == 200


def test_the_time_in_the_queue_is_over_when_the_dial_begins(serve, gate):
    proxy = serve(rules=[rule(gate.port, pool={"connections": 1})])
    pool = pool_of(proxy)
    first, second = proxy.connect(), proxy.connect()
    first.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 1)
    second.send(request("/second"))
    proxy.wait_until(lambda: pool.waiting == 1)
    (queued,) = proxy.call(lambda: [one for one in proxy.listener.connections if one.exchange.is_queued])
    dial, connect = asyncio.Event(), pool._connect

    async def connect_later(exchange):
        await dial.wait()
        await connect(exchange)

    pool._connect = connect_later
    first.reset()
    proxy.wait_until(lambda: pool.waiting == 0)
    assert queued.deadline == float("inf")
    proxy.call(dial.set)
    assert second.read_answer().status == 200


class AbortedTransport(asyncio.Transport):
    def abort(self):
        pass

    def set_write_buffer_limits(self, high=None, low=None):
        pass


class MadeTooLate:
    """A loop whose connections are made in the very moment in which the time for them runs out."""

    def __init__(self):
        self.protocol = None

    def time(self):
        return 0.0

    def create_task(self, coroutine):
        return asyncio.get_running_loop().create_task(coroutine)

    async def create_connection(self, factory, address, port):
        self.protocol = factory()
        self.protocol.connection_made(AbortedTransport())
        raise TimeoutError


def test_a_connection_made_too_late_is_counted_once():
    async def run():
        loop, failed = MadeTooLate(), []
        pool = TargetPool(loop, "192.0.2.1", 80, Pool(), 1.0)
        exchange = SimpleNamespace(is_queued=False, dial_failed=failed.append)
        assert pool.acquire(exchange) is None
        await asyncio.gather(*pool._dials)
        assert [error.reason for error in failed] == ["dial_timeout"]
        assert pool.open_connections == 0
        loop.protocol.connection_lost(None)  # Whether the loop tells of it or not.
        assert pool.open_connections == 0

    asyncio.run(run())


def test_the_queue_goes_on_when_a_dial_fails(serve, closing):
    server = closing.enter_context(RealServer())
    proxy = serve(rules=[rule(server.port, pool={"connections": 1})])
    server.stop()
    clients = [proxy.connect() for _ in range(3)]
    for client in clients:
        client.send(request())
    assert [client.read_answer().status for client in clients] == [502, 502, 502]


def test_a_dead_connection_is_replaced_even_at_the_bound(serve, closing):
    def script(conversation):
        conversation.read_request()
        conversation.send(OK)
        conversation.read_head()
        if conversation.number:
            conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    client = serve(rules=[rule(server.port, pool={"connections": 1, "queue": 0})]).connect()
    assert client.ask("/1").status == 200
    assert client.ask("/2").status == 200
    assert len(server.conversations) == 2


def test_a_connection_serves_so_many_requests_and_no_more(serve, real_server):
    client = serve(rules=[rule(real_server.port, pool={"requests": 3})]).connect()
    for _ in range(7):
        assert client.ask().status == 200
    assert len(real_server.conversations) == 3


def test_an_idle_connection_is_closed_after_its_time(serve, real_server):
    proxy = serve(rules=[rule(real_server.port, pool={"idle_timeout": "100ms"})])
    assert proxy.connect().ask().status == 200
    proxy.wait_until(lambda: not pool_of(proxy).open_connections)
    assert proxy.connect().ask().status == 200


def test_no_more_than_so_many_stay_idle(serve, gate):
    proxy = serve(rules=[rule(gate.port, pool={"idle": 1})])
    clients = [proxy.connect() for _ in range(3)]
    for client in clients:
        client.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 3)
    gate.release(3)
    assert [client.read_answer().status for client in clients] == [200] * 3
    proxy.wait_until(lambda: pool_of(proxy).open_connections == len(pool_of(proxy).idle) == 1)


CLOSING_ANSWERS = {
    "http_1_1_close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "http_1_0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("answer", CLOSING_ANSWERS.values(), ids=CLOSING_ANSWERS)
def test_a_connection_that_the_real_server_means_to_close_is_not_kept(serve, closing, answer):
    server = closing.enter_context(RealServer(answer))
    client = serve(targets=[server.port]).connect()
    for _ in range(2):
        received = client.ask()
        assert (received.body, received.all(b"connection")) == (b"ok", [])
    assert len(server.conversations) == 2


def test_an_http_1_0_real_server_may_keep_its_connection(serve, closing):
    server = closing.enter_context(
        RealServer(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
    )
    client = serve(targets=[server.port]).connect()
    assert [client.ask().status for _ in range(3)] == [200] * 3
    assert len(server.conversations) == 1


def set_available(proxy, index, available):
    (rule_,) = proxy.listener.rules
    rule_.candidates[index].available = available
    rule_.scheduler.changed()


def test_a_target_at_its_bounds_is_passed_over(serve, gate, real_server):
    """Its breaker is open: others are asked, and 503 comes only when there are none."""
    proxy = serve(rules=[rule(gate.port, real_server.port, pool={"connections": 1, "queue": 0})])
    pool = pool_of(proxy)
    first, second = proxy.connect(), proxy.connect()
    proxy.call(lambda: set_available(proxy, 1, False))
    first.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 1)
    proxy.call(lambda: set_available(proxy, 1, True))
    assert proxy.call(lambda: pool.is_open)
    assert [second.ask(method="POST", body=b"x").status for _ in range(6)] == [200] * 6
    assert len(gate.requests) == 1
    assert proxy.call(lambda: pool.openings) >= 1
    gate.release()
    assert first.read_answer().status == 200
    proxy.wait_until(lambda: not pool.is_open)
    proxy.wait_until(lambda: not pool._was_open)
    openings = proxy.call(lambda: pool.openings)
    assert [second.ask().status for _ in range(4)] == [200] * 4
    assert proxy.call(lambda: pool.openings) == openings


def test_who_waits_at_a_target_that_goes_down_goes_to_another(serve, gate, real_server):
    proxy = serve(rules=[rule(gate.port, real_server.port, pool={"connections": 1})])
    pool = pool_of(proxy)
    proxy.call(lambda: set_available(proxy, 1, False))
    first, second = proxy.connect(), proxy.connect()
    first.send(request("/wait"))
    gate.wait_for(lambda: len(gate.requests) == 1)
    second.send(request("/second", method="POST", body=b"x"))
    proxy.wait_until(lambda: pool.waiting == 1)
    proxy.call(lambda: set_available(proxy, 0, False))  # All are down, so all are as good as each other.
    assert proxy.call(lambda: proxy.listener.sweep(proxy._loop.time()) or pool.waiting) == 1
    proxy.call(lambda: set_available(proxy, 1, True))
    assert second.read_answer().status == 200
    assert real_server.heads[0].startswith(b"POST /second")
    gate.release()
    assert first.read_answer().status == 200


class WithoutDescriptors(MadeTooLate):
    """A loop of a process that may open nothing more."""

    async def create_connection(self, factory, address, port):
        raise OSError(errno.EMFILE, "Too many open files")


def test_having_no_descriptor_is_not_the_targets_fault():
    async def run():
        failed = []
        pool = TargetPool(WithoutDescriptors(), "192.0.2.1", 80, Pool(), 1.0)
        assert pool.acquire(SimpleNamespace(is_queued=False, dial_failed=failed.append)) is None
        await asyncio.gather(*pool._dials)
        assert [(error.reason, error.client_status, error.retry_after_s) for error in failed] == [
            ("no_descriptors", 503, 1)
        ]
        assert pool.open_connections == 0

    asyncio.run(run())
