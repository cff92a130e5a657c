"""Limits are of the node: a real `clb serve` with two workers, and clients that the kernel spreads over both."""

from __future__ import annotations

import select
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from clb_process import ClbProcess
from live_proxy import rule
from raw_client import Client, request
from real_server import WAIT_S, RealServer
from tls_material import TlsMaterial

SLOWLY = {"rate": "1/h"}
SEE_EACH_OTHER_S = 1.2
"""Workers sign for themselves, and look who else does, twice a second."""
CLIENTS = 40
QUIET_S = 1.0
"""Who has no answer by then waits for one."""


class Held:
    """A real server that answers only when it is let."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def script(self, conversation: object) -> None:
        while True:
            conversation.read_request()  # type: ignore[attr-defined]
            self.may_answer.wait(WAIT_S)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def node(material: TlsMaterial, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClbProcess, Held]]:
    with ExitStack() as stack:
        held = Held()
        stack.callback(held.may_answer.set)
        server = stack.enter_context(RealServer())
        slow = stack.enter_context(RealServer(script=held.script))
        rules = [
            rule(server.port),
            {**rule(server.port, default=False, url="/rate"), "rate_limits": [{"burst": 20, "key": "all", **SLOWLY}]},
            {**rule(server.port, default=False, url="/source"), "rate_limits": [{"burst": 15, **SLOWLY}]},
            {**rule(slow.port, default=False, url="/bound"), "in_flight": {"requests": 10}},
        ]
        limits = {"limits": {"connections": 12}}
        listeners = [
            {"protocol": "http", "rules": rules},
            {"protocol": "http", "name": "few", "port": 80, "rules": [rule(server.port)], **limits},
        ]
        clb = stack.enter_context(
            ClbProcess(material, tmp_path_factory.mktemp("node"), node={"workers": 2}, listeners=listeners)
        )
        time.sleep(SEE_EACH_OTHER_S)
        yield clb, held


def ask_all(clb: ClbProcess, path: str) -> Counter[int]:
    """One request on each of many connections, so that both workers have some."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(clb.connect("http"))) for _ in range(CLIENTS)]
        for client in clients:
            client.send(request(path))
        return Counter(client.read_answer().status for client in clients)


def between(most: int) -> range:
    """As many as the limit says, and one more if two workers took the last one in the same instant."""
    return range(most, most + 2)


@pytest.mark.parametrize(("path", "most"), [("/rate", 20), ("/source", 15)])
def test_a_rate(node: tuple[ClbProcess, Held], path: str, most: int) -> None:
    found = ask_all(node[0], path)
    assert found[200] in between(most), found
    assert found[200] + found[429] == CLIENTS


def test_requests_in_flight(node: tuple[ClbProcess, Held]) -> None:
    clb, held = node
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(clb.connect("http"))) for _ in range(CLIENTS)]
        for client in clients:
            client.send(request("/bound"))
        waiting = {client.sock: client for client in clients}
        refused = []
        while ready := select.select(list(waiting), [], [], QUIET_S)[0]:
            refused += [waiting.pop(sock) for sock in ready]
        assert {client.read_answer().status for client in refused} == {503}
        held.may_answer.set()
        assert {client.read_answer().status for client in waiting.values()} == {200}
    assert len(waiting) in between(10)


def test_connections(node: tuple[ClbProcess, Held]) -> None:
    clb, _ = node
    with ExitStack() as stack:
        taken = 0
        for _ in range(CLIENTS):
            try:
                client = stack.enter_context(closing(clb.connect("few")))
                taken += client.ask().status == 200
            except (OSError, EOFError):
                continue
        assert taken in between(12)


def test_they_are_all_given_back(node: tuple[ClbProcess, Held]) -> None:
    """What the tests before held is free again, in either worker."""
    clb, held = node
    held.may_answer.set()
    give_up_at = time.monotonic() + WAIT_S
    while not all(_is_served(lambda: clb.connect("few")) for _ in range(12)):
        assert time.monotonic() < give_up_at
    assert set(ask_all(clb, "/")) == {200}


def _is_served(connect: object) -> bool:
    try:
        with closing(connect()) as client:  # type: ignore[operator]
            assert isinstance(client, Client)
            return client.ask().status == 200
    except (OSError, EOFError):
        return False
