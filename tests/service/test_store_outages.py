"""PostgreSQL goes away and comes back under traffic and writes: no client notices, no acknowledged write is lost."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from writing_node import WritingNode, balancer, free_port, listener, rule, target

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from postgres import Postgres, postgres

from clb.store.database import open_store

OUTAGES = 3


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def real_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


class Clients(threading.Thread):
    """Ask again and again, each time on a connection of its own."""

    def __init__(self, node: WritingNode, port: int) -> None:
        super().__init__()
        self._node, self._port = node, port
        self.ended = threading.Event()
        self.requests = 0
        self.failures: list[object] = []

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                answer: object = self._node.ask(self._port)
            except (OSError, ValueError, IndexError) as error:
                answer = repr(error)
            self.requests += 1
            if answer != (200, "ok"):
                self.failures.append(answer)
            time.sleep(0.002)


def is_written(answer: dict[str, object] | None) -> bool:
    """Whether it took place; what else may be said is that the store is away, or that nobody can know."""
    assert answer is not None
    assert answer.get("fault") in (None, "StoreAway", "OutcomeUnknown"), answer
    return "revision" in answer


def test_a_database_that_comes_and_goes(tmp_path: Path, database: Postgres, real_port: int):
    url, port = database.database(), free_port()
    with WritingNode(tmp_path, {"store": {"url": url}}) as node:
        node.write(balancer("shop"), listener(port), rule(), target(real_port, weight=100))
        clients = Clients(node, port)
        clients.start()
        acknowledged: list[int] = []
        number = 0
        try:
            for _ in range(OUTAGES):
                number = write_until_away(node, database, acknowledged, number)
                database.start()
                node.wait_until(lambda: is_written(node.try_write(target(real_port, weight=99))))
        finally:
            clients.ended.set()
            clients.join()
        assert clients.failures == []
        assert clients.requests > 50
        assert len(acknowledged) >= OUTAGES
        store = open_store(url, tmp_path)
        found = store.read()
        store.close()
        names = {entry.key for entry in found.entries.values()}
        assert {f"lb-{each}" for each in acknowledged} <= names
        starts_without(node, database, port)


def write_until_away(node: WritingNode, database: Postgres, acknowledged: list[int], number: int) -> int:
    """Write without a pause while the database is stopped as by a crash; return where it ended."""
    stopping = threading.Timer(0.3, database.stop)
    stopping.start()
    was_written = True
    while was_written:
        number += 1
        was_written = is_written(node.try_write(balancer(f"lb-{number}", number)))
        if was_written:
            acknowledged.append(number)
    stopping.join()
    return number


def starts_without(node: WritingNode, database: Postgres, port: int) -> None:
    """A start while the database is away serves what it said last; the node can be written to when it is back."""
    snapshot = node.state / "store.snapshot"
    revision = node.revision()
    node.wait_until(lambda: f'"revision":{revision}}}' in snapshot.read_text().partition("\n")[0])
    node.process.terminate()
    node.process.wait(30)
    database.stop()
    node.start()
    assert node.answers(port) == {(200, "ok")}
    assert "what it had at revision" in node.log
    assert not is_written(node.try_write(balancer("never", 99)))
    database.start()
    node.wait_until(lambda: is_written(node.try_write(balancer("again", 98))))
    assert node.answers(port) == {(200, "ok")}
