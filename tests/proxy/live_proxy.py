"""The data path at work inside the test's process: real loop, real sockets, every counter within reach."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import uvloop
import yaml
from bundles import read_bundle
from raw_client import Client
from real_server import WAIT_S
from tls_material import TlsMaterial

from clb.observe.access_log import AccessLogger, open_access_log
from clb.proxy import sweep as sweep_module
from clb.proxy.admission import NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.downstream import Downstream
from clb.proxy.listener import ListenerRuntime
from clb.proxy.node_share import NodeShare
from clb.proxy.sweep import Sweep
from clb.service.assembly import Assembly
from clb.service.bundle_files import BundleReader
from clb.service.steps import in_steps
from clb.service.surroundings import Surroundings

T = TypeVar("T")

SWEEP_S = 0.02
"""The sweep looks at time this often here, so that a test of a time-out takes no second."""
UNUSED_PORT = 443
"""What stands in the file; the system chooses the port that is bound."""


def site(material: TlsMaterial, *, listeners: list[dict[str, Any]] | None = None, **keys: Any) -> dict[str, Any]:
    """A configuration document: one https listener with these keys, or several."""
    return {
        "certificates": {
            "web": {
                "type": "server",
                "certificate": str(material.certificate),
                "private_key": str(material.private_key),
            },
            "partners": {"type": "ca", "certificate": str(material.clients_ca)},
        },
        "load_balancers": [{"name": "lb", "listeners": [_listener(**one) for one in listeners or [keys]]}],
    }


def _listener(*, protocol: str = "https", targets: list[int] | None = None, **keys: Any) -> dict[str, Any]:
    listener = {"name": protocol, "address": "127.0.0.1", "port": UNUSED_PORT, "protocol": protocol, **keys}
    if protocol == "https":
        listener.setdefault("certificate", "web")
    if targets is not None:
        listener["rules"] = [rule(*targets)]
    return listener


def rule(*ports: int, domain: str = "shop.example.com", default: bool = True, **keys: Any) -> dict[str, Any]:
    """One rule to real servers on these ports of this host."""
    targets = [{"address": "127.0.0.1", "port": port} for port in ports]
    return {"domain": domain, "default": default, **({"targets": targets} if ports else {}), **keys}


def listening_socket(address: str) -> socket.socket:
    """A socket as the supervisor hands it to its workers, but for the port, which the system chooses."""
    if ":" in address:
        return socket.create_server((address, 0), family=socket.AF_INET6, dualstack_ipv6=address == "::")
    return socket.create_server((address, 0))


class RecordedEvents:
    """The events that the service would log, as (level, reason, message)."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, str]] = []

    def log(self, level: int, reason: str, message: str, **values: object) -> None:
        self.events.append((level, reason, message))


class LiveProxy:
    """Listeners on a loop of their own thread. On exit nothing may be left: no connection, no count, no complaint."""

    def __init__(
        self,
        material: TlsMaterial,
        directory: Path,
        *,
        node: dict[str, Any] | None = None,
        share: NodeShare | None = None,
        **keys: Any,
    ) -> None:
        self._material = material
        self._file = directory / f"clb-{id(self)}.yaml"
        self._file.write_text(yaml.safe_dump({"node": node or {}, **site(material, **keys)}))
        self._reader = BundleReader()
        self._bundle = read_bundle(self._file, self._reader)
        self._log_file = directory / f"access-{id(self)}.log"
        self.events = RecordedEvents()
        self.admission = NodeAdmission(share or NodeShare.alone(), self._bundle[0].config.node.limits, self.events)
        self.lag_s = 0.0
        """How late the sweep is said to be."""
        self.complaints: list[str] = []
        self.ports: dict[str, int] = {}
        self.listeners: dict[str, ListenerRuntime] = {}
        self._clients: list[Client] = []

    # --- from the test's thread ---

    @property
    def listener(self) -> ListenerRuntime:
        """The only listener."""
        (listener,) = self.listeners.values()
        return listener

    def connect(self, listener: str = "https", *, version: Any = None, **options: Any) -> Client:
        """Connect a client; it is closed with the proxy."""
        if listener == "https" and "context" not in options:
            options["context"] = self._material.client_context(**({"version": version} if version else {}))
        client = Client(self.ports[listener], **options)
        self._clients.append(client)
        return client

    def reload(
        self,
        document: dict[str, Any] | None = None,
        *,
        node: dict[str, Any] | None = None,
        when_asked: Callable[[], object] = lambda: None,
        **keys: Any,
    ) -> None:
        """Change over to another site, given by its keys or whole; `when_asked` is called once the loop is to do it."""
        self._file.write_text(yaml.safe_dump({"node": node or {}, **(document or site(self._material, **keys))}))
        self._bundle = read_bundle(self._file, self._reader)
        future = asyncio.run_coroutine_threadsafe(self._activate(), self._loop)
        when_asked()
        future.result(WAIT_S)

    def narrow(self, client: Client, *, blocks_at_once: bool = False) -> Downstream:
        """Make the buffers towards a client so small that a client which does not read is felt soon, or at once."""
        port = client.sock.getsockname()[1]

        def find() -> list[Downstream]:
            connections = [one for listener in self.listeners.values() for one in listener.connections]
            return [one for one in connections if one.client_port == port]

        self.wait_until(lambda: bool(find()))
        (found,) = self.call(find)
        sock = found.transport.get_extra_info("socket")
        self.call(lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096))
        if blocks_at_once:
            self.call(lambda: found.transport.set_write_buffer_limits(high=0))
        return found

    def call(self, ask: Callable[[], T]) -> T:
        """Run a function between two callbacks of the loop."""

        async def run() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(WAIT_S)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that is seen from within only."""
        give_up_at = time.monotonic() + WAIT_S
        while not self.call(condition):
            assert time.monotonic() < give_up_at, "it never came to that"

    def log_lines(self, count: int) -> list[dict[str, Any]]:
        """The first `count` lines of the access log."""
        self.wait_until(lambda: self.written_log().count(b"\n") >= count)
        return [json.loads(line) for line in self.written_log().splitlines()]

    def written_log(self) -> bytes:
        """All of the access log; only to be asked for on the loop, by `call`."""
        self._access_log.flush()
        return self._log_file.read_bytes()

    # --- life ---

    def __enter__(self) -> LiveProxy:
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(str(context)))
        self._handler = _Complaints(self.complaints)
        logging.getLogger().addHandler(self._handler)
        self._old_hook, sys.unraisablehook = sys.unraisablehook, lambda found: self.complaints.append(str(found))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(WAIT_S)
        return self

    async def _start(self) -> None:
        clock = Clock(self._loop.time)
        self._access_log: AccessLogger = open_access_log(str(self._log_file), "json", clock.wall)
        surroundings = Surroundings(self._loop, clock, self._access_log, self.events, b"k" * 32, self.admission)
        self.names = surroundings.names
        self.assembly = Assembly(surroundings)
        await self._activate()
        interval, sweep_module.INTERVAL_S = sweep_module.INTERVAL_S, SWEEP_S
        self._interval = interval
        self._sweep = Sweep(self._loop, (lambda now: self.admission.sweep(now, self.lag_s), self.assembly.sweep))
        self._sweep.start()

    async def _activate(self) -> None:
        await in_steps(self.assembly.activate(await in_steps(self.assembly.prepare(*self._bundle))))
        self.listeners = {listener.config.name: listener for listener in self.assembly.listeners.values()}
        for name, listener in self.listeners.items():
            if not listener.acceptors:
                self.ports[name] = await listener.accept_on(self._loop, listening_socket(listener.config.address))

    def __exit__(self, kind: object, *_: object) -> None:
        for client in self._clients:
            client.close()
        try:
            if kind is None:
                self.wait_until(lambda: not any(one.connections for _, one in self.assembly.every_listener()))
                self.call(self._check_books)
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WAIT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT_S)
            self._loop.close()
            logging.getLogger().removeHandler(self._handler)
            sys.unraisablehook = self._old_hook
            sweep_module.INTERVAL_S = self._interval
        assert not self.complaints, self.complaints

    async def _stop(self) -> None:
        self._sweep.stop()
        self.assembly.close()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        self._access_log.close()

    def _check_books(self) -> None:
        """With no connection left, every counter of work under way is at zero and every byte is in a class."""
        admission = self.admission
        own, places = admission.share.own, (admission.connections_at, admission.handshakes_at)
        assert [admission.connections, *(own[place] for place in places)] == [0, 0, 0]
        assert not admission.share.counts._own
        for _, listener in self.assembly.every_listener():
            assert listener.ledger.residuals == 0
            assert not listener.ledger.live
            for rule_ in listener.rules:
                assert (rule_.budget.live_requests, rule_.budget.live_retries) == (0, 0)
                for candidate in rule_.candidates:
                    assert candidate.in_flight == 0
                    assert candidate.payload.waiting == 0
                    assert candidate.payload.open_connections >= len(candidate.payload.idle)


class _Complaints(logging.Handler):
    """Warnings of the loop and errors of anyone."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__()
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.name == "asyncio":
            self._complaints.append(record.getMessage())
