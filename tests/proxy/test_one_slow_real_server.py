"""Strategies compared on sockets: three real servers with two threads each, one of them ten times as slow.

The same in counted time, which is exact and quick, is in tests/balancing/test_one_slow_target.py.
"""

from __future__ import annotations

import threading
import time

import pytest
from live_proxy import rule
from real_server import OK, WAIT_S, RealServer

CLIENTS, REQUESTS = 16, 60


class Slow(RealServer):
    """Answers after `service_s`, two requests at a time; the others wait."""

    def __init__(self, service_s: float) -> None:
        super().__init__(script=self._work)
        self._service_s = service_s
        self._threads_free = threading.Semaphore(2)
        self._never = threading.Event()

    def _work(self, conversation):
        while True:
            conversation.read_request()
            assert self._threads_free.acquire(timeout=WAIT_S)
            self._never.wait(self._service_s)
            self._threads_free.release()
            conversation.send(OK)


def p99_ms(serve, closing, scheduler):
    servers = [closing.enter_context(Slow(service_s)) for service_s in (0.05, 0.005, 0.005)]
    rules = [rule(*(server.port for server in servers), scheduler=scheduler)]
    proxy = serve(rules=rules, protocol="http")
    waits = []

    def ask():
        client = proxy.connect("http")
        for _ in range(REQUESTS):
            began = time.monotonic()
            assert client.ask().status == 200
            waits.append(time.monotonic() - began)

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(waits) == CLIENTS * REQUESTS
    return sorted(waits)[len(waits) * 99 // 100] * 1000


@pytest.mark.slow
def test_who_looks_beats_who_does_not(serve, closing):
    found = {name: p99_ms(serve, closing, name) for name in ("wrr", "least_conn", "p2c_ewma")}
    print("\np99 in ms", {name: round(p99, 1) for name, p99 in found.items()})
    assert found["least_conn"] < found["wrr"]
    assert found["p2c_ewma"] < found["wrr"]
