"""Requests at once: places, the queue before them, its order, and that every place comes back."""

from __future__ import annotations

import threading

import pytest
from live_proxy import rule
from node_pair import two_workers
from raw_client import request
from real_server import OK, WAIT_S, RealServer

from clb.config.models import Access, InFlight
from clb.metering.cells import FIELDS, ListenerField, RuleField
from clb.proxy.request_gate import build_gate


class HoldingServer:
    """Answers nothing until it is told to, one request at a time; knows the order in which they came."""

    def __init__(self, closing):
        self.paths: list[str] = []
        self._permits = threading.Semaphore(0)
        self._changed = threading.Condition()
        self.server = closing.enter_context(RealServer(script=self._play))
        closing.callback(self.release, 1000)

    def _play(self, conversation):
        while True:
            head, _ = conversation.read_request()
            with self._changed:
                self.paths.append(head.split(b" ")[1].decode())
                self._changed.notify_all()
            assert self._permits.acquire(timeout=WAIT_S)
            conversation.send(OK)

    def release(self, count: int = 1) -> None:
        self._permits.release(count)

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.paths) >= count, WAIT_S), self.paths
            return self.paths

    @property
    def port(self):
        return self.server.port


@pytest.fixture
def holding(closing):
    return HoldingServer(closing)


def send(proxy, path: str, protocol: str = "https"):
    client = proxy.connect(protocol)
    client.send(request(path))
    return client


def queued(proxy) -> int:
    bound = proxy.listener.gate._bound
    return proxy.call(lambda: len(bound._waiting))


def wait_for_queue(proxy, count: int) -> None:
    bound = proxy.listener.gate._bound
    proxy.wait_until(lambda: len(bound._waiting) == count)


@pytest.mark.parametrize("protocol", ["https", "http"])
def test_above_the_bound_without_a_queue_is_503_at_once(serve, holding, protocol):
    proxy = serve(protocol=protocol, targets=[holding.port], in_flight={"requests": 1})
    first = send(proxy, "/a", protocol)
    holding.wait_for(1)
    second = proxy.connect(protocol)
    answer = second.ask()
    assert (answer.status, answer.one(b"retry-after")) == (503, b"1")
    holding.release(2)
    assert first.read_answer().status == 200
    assert second.ask().status == 200
    assert proxy.listener.ledger.refused == {"overloaded": 1}


def test_those_who_wait_are_served_in_order(serve, holding):
    proxy = serve(targets=[holding.port], in_flight={"requests": 1, "queue": 3, "wait": "60s"})
    clients = [send(proxy, "/0")]
    holding.wait_for(1)
    for number in range(1, 4):
        clients.append(send(proxy, f"/{number}"))
        wait_for_queue(proxy, number)
    assert proxy.connect().ask().status == 503
    for number, client in enumerate(clients):
        holding.release()
        assert client.read_answer().status == 200
        assert holding.wait_for(min(number + 2, 4)) == [f"/{one}" for one in range(min(number + 2, 4))]


def test_who_waits_for_too_long_is_503(serve, holding):
    proxy = serve(targets=[holding.port], in_flight={"requests": 1, "queue": 1, "wait": "100ms"})
    first = send(proxy, "/a")
    holding.wait_for(1)
    answer = send(proxy, "/b").read_answer()
    assert (answer.status, answer.one(b"retry-after")) == (503, b"1")
    holding.release()
    assert first.read_answer().status == 200
    assert proxy.log_lines(2)[0]["error_reason"] == "overloaded"


def test_who_goes_away_waits_no_more(serve, holding):
    proxy = serve(targets=[holding.port], in_flight={"requests": 1, "queue": 5, "wait": "60s"})
    first = send(proxy, "/0")
    holding.wait_for(1)
    clients = []
    for number in range(1, 4):
        clients.append(send(proxy, f"/{number}"))
        wait_for_queue(proxy, number)
    clients[1].reset()
    wait_for_queue(proxy, 2)
    holding.release(10)
    for client in (first, clients[0], clients[2]):
        assert client.read_answer().status == 200
    assert holding.paths == ["/0", "/1", "/3"]


def test_a_body_is_kept_while_its_request_waits(serve, closing):
    release = threading.Event()
    server = closing.enter_context(
        RealServer(script=lambda c: [(c.read_request(), release.wait(WAIT_S), c.send(OK)) for _ in range(2)])
    )
    proxy = serve(targets=[server.port], in_flight={"requests": 1, "queue": 1, "wait": "60s"})
    first = send(proxy, "/a")
    proxy.wait_until(lambda: any(one.exchange is not None for one in proxy.listener.connections))
    second = proxy.connect()
    second.send(request("/b", method="POST", body=b"x" * 10_000))
    wait_for_queue(proxy, 1)
    release.set()
    assert [first.read_answer().status, second.read_answer().status] == [200, 200]


def test_a_queue_whose_requests_all_fail_ends_without_recursion(serve, holding, refused_port):
    """Each that begins fails at once and makes place for the next."""
    rules = [rule(holding.port), {**rule(default=False, url="/none"), "targets": []}]
    proxy = serve(rules=rules, in_flight={"requests": 1, "queue": 2000, "wait": "60s"})
    first = send(proxy, "/a")
    holding.wait_for(1)
    clients = [send(proxy, "/none") for _ in range(60)]
    wait_for_queue(proxy, 60)
    holding.release()
    assert first.read_answer().status == 200
    assert {client.read_answer().status for client in clients} == {503}


def test_a_rule_has_a_bound_of_its_own(serve, holding, real_server):
    rules = [rule(real_server.port), {**rule(holding.port, default=False, url="/few"), "in_flight": {"requests": 1}}]
    proxy = serve(rules=rules, in_flight={"requests": 3})
    first = send(proxy, "/few")
    holding.wait_for(1)
    client = proxy.connect()
    assert [client.ask("/few").status, client.ask("/").status] == [503, 200]
    holding.release(2)
    assert first.read_answer().status == 200
    assert client.ask("/few").status == 200
    own = proxy.admission.share.own
    for key in ("lb/https", "lb/https shop.example.com/few"):
        place = proxy.admission.share.place(key, ListenerField.BOUNDED if " " not in key else RuleField.BOUNDED)
        assert own[place] == 0


def test_a_request_waits_at_the_listener_and_then_at_the_rule(serve, holding):
    bound = {"requests": 1, "queue": 2, "wait": "60s"}
    rules = [{**rule(holding.port), "in_flight": bound, "rate_limits": [{"rate": "1/h", "burst": 2}]}]
    proxy = serve(rules=rules, in_flight=bound, rate_limits=[{"rate": "1/h", "burst": 2}])
    first = send(proxy, "/0")
    holding.wait_for(1)
    second = send(proxy, "/1")
    wait_for_queue(proxy, 1)
    holding.release(2)
    assert [first.read_answer().status, second.read_answer().status] == [200, 200]


def test_a_changed_configuration_does_not_ask_those_who_wait_again(serve, holding):
    """A request that comes out of the old queue meets the new gate, where its own place would be in its way."""
    proxy = serve(targets=[holding.port], in_flight={"requests": 1, "queue": 1, "wait": "60s"})
    first = send(proxy, "/0")
    holding.wait_for(1)
    second = send(proxy, "/1")
    wait_for_queue(proxy, 1)
    proxy.call(lambda: setattr(proxy.listener, "gate", _gate(proxy, InFlight(requests=1))))
    holding.release(2)
    assert [first.read_answer().status, second.read_answer().status] == [200, 200]
    holding.release(1)
    assert proxy.connect().ask().status == 200


def _gate(proxy, in_flight):
    share, field = proxy.admission.share, ListenerField.BOUNDED
    return build_gate(share, proxy._loop, "lb/https", field, Access(), (), in_flight)


# --- two workers ---


def two_proxies(serve, holding, **in_flight):
    return [serve(share=share, targets=[holding.port], in_flight=in_flight) for share in two_workers()]


def test_the_bound_is_of_both_workers(serve, holding):
    proxies = two_proxies(serve, holding, requests=2)
    clients = [send(proxy, "/") for proxy in proxies]
    holding.wait_for(2)
    assert [proxy.connect().ask().status for proxy in proxies] == [503, 503]
    holding.release(2)
    assert [client.read_answer().status for client in clients] == [200, 200]


def test_a_place_goes_to_whom_has_waited_longest_in_whichever_worker(serve, holding):
    proxies = two_proxies(serve, holding, requests=1, queue=6, wait="60s")
    clients = [send(proxies[0], "/0")]
    holding.wait_for(1)
    for number in range(1, 7):
        proxy = proxies[number % 2]
        clients.append(send(proxy, f"/{number}"))
        wait_for_queue(proxy, (number + 1) // 2)
        threading.Event().wait(0.003)  # Workers tell each other whole milliseconds.
    assert [proxy.connect().ask().status for proxy in proxies] == [503, 503]
    for number, client in enumerate(clients):
        holding.release()
        assert client.read_answer().status == 200
        holding.wait_for(min(number + 2, 7))
    assert holding.paths == [f"/{number}" for number in range(7)]


def test_a_worker_that_hangs_keeps_no_place_free(serve, holding):
    first, second = two_workers()
    proxy = serve(share=first, targets=[holding.port], in_flight={"requests": 1, "queue": 9, "wait": "60s"})
    place = first.place("lb/https", ListenerField.BOUNDED)
    second.own[place + 1], second.own[place + 2] = 5, 1  # Five wait there, since long before this test.
    assert place % FIELDS == ListenerField.BOUNDED
    client = send(proxy, "/a")
    holding.release()
    assert client.read_answer().status == 200
