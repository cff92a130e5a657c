"""What clients have seen is counted, whatever becomes of the workers that served them."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from clb_process import ClbProcess
from real_server import OK, WAIT_S, RealServer
from tls_material import HOST, TlsMaterial

from clb.metering.counter_reader import CounterReader

REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
CLIENTS = 4
"""Of each kind: on https and on http."""
AT_MOST_UNDER_WAY = 2 * CLIENTS
"""Answers that a kill can keep from clients."""


class Visitors:
    """Clients of one listener that ask again and again, and count what they get; one that is cut off comes again."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self.answers = self.received = self.cut = 0
        self._port, self._context = port, context
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError):  # Cut off, or not let in yet by the successor.
                with self._connected() as sock:
                    while not self._stop.is_set():
                        self._ask(sock)
                continue
            with self._lock:
                self.cut += 1

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S) as sock:
            if self._context is None:
                yield sock
            else:
                with self._context.wrap_socket(sock, server_hostname=HOST) as tls:
                    yield tls

    def _ask(self, sock: socket.socket) -> None:
        sock.sendall(REQUEST)
        head, length = b"", None
        while length is None or len(head) < length:
            data = sock.recv(65536)
            if not data:
                raise ConnectionResetError("the end")
            with self._lock:
                self.received += len(data)
            head += data
            if length is None and b"\r\n\r\n" in head:
                length = head.index(b"\r\n\r\n") + 4 + len(OK.partition(b"\r\n\r\n")[2])
        with self._lock:
            self.answers += 1

    def wait_for(self, answers: int) -> None:
        give_up_at, wanted = time.monotonic() + WAIT_S, self.answers + answers
        while self.answers < wanted:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)


@pytest.fixture
def node(material: TlsMaterial, tmp_path: Path, closing: ExitStack) -> Callable[..., ClbProcess]:
    return lambda **keys: closing.enter_context(ClbProcess(material, tmp_path, node={"workers": 2}, **keys))


def test_killed_workers_take_nothing_along(
    node: Callable[..., ClbProcess], material: TlsMaterial, closing: ExitStack, tmp_path: Path
) -> None:
    """Each of the two workers is killed under load; whoever looks meanwhile sees no number fall."""
    real_servers = [closing.enter_context(RealServer()) for _ in range(2)]
    targets = [server.port for server in real_servers]
    clb = node(listeners=[{"protocol": protocol, "targets": targets} for protocol in ("https", "http")])
    reader = CounterReader(tmp_path / "state" / "counters")
    closing.callback(reader.close)
    context = material.client_context()
    visitors = {
        "lb/https": Visitors(clb.ports["https"], context),
        "lb/http": Visitors(clb.ports["http"], None),
    }
    last: dict[str, int] = {}
    for worker in clb.workers():
        for each in visitors.values():
            each.wait_for(100)
            assert_nothing_fell(reader, last)
        os.kill(worker, signal.SIGKILL)
    for each in visitors.values():
        each.wait_for(100)
    for each in visitors.values():
        each.stop()
    totals = reader.read()
    assert totals.faults == []
    assert_nothing_fell(reader, last)
    for key, seen in visitors.items():
        listener = totals.listeners[key]
        rules = [counts for name, counts in totals.rules.items() if name.startswith(f"{key} ")]
        assert seen.cut > 0
        for counts in (listener, *rules):
            assert seen.answers <= counts["requests_2xx"] <= seen.answers + AT_MOST_UNDER_WAY
            assert seen.received <= counts["billed_out"] <= seen.received + AT_MOST_UNDER_WAY * 2 * len(OK)
        assert listener["billed_in"] >= seen.answers * len(REQUEST)
        assert listener["wire_out"] >= listener["billed_out"]
        assert len(rules) == 1
    assert totals.node["worker_starts"] == 4
    assert len(list((tmp_path / "state" / "counters").iterdir())) == 2


def assert_nothing_fell(reader: CounterReader, last: dict[str, int]) -> None:
    totals = reader.read()
    now = {
        f"{key} {name}": value
        for table in (totals.listeners, totals.rules, totals.targets)
        for key, counts in table.items()
        for name, value in counts.items()
    }
    assert all(now[name] >= value for name, value in last.items())
    last.update(now)


def test_the_next_start_goes_on_where_this_one_ended(node: Callable[..., ClbProcess], tmp_path: Path) -> None:
    with RealServer() as server:
        counted = []
        for _ in range(2):
            clb = node(protocol="http", targets=[server.port])
            with clb.connect("http") as client:
                client.send(REQUEST)
                assert client.read_answer().status == 200
            clb.signal(signal.SIGTERM)
            assert clb.wait() == 0
            reader = CounterReader(tmp_path / "state" / "counters")
            counted.append(reader.read().listeners["lb/http"]["requests_2xx"])
            reader.close()
    assert counted == [1, 2]
