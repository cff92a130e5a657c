"""Run the control process: management on two sockets, the prober, and the channel to the supervisor.

Owns:      the loop, the order of start and stop, what is done each second.
Elsewhere: what is answered (control/); health (prober.py); what is in the cells and counters (metering/).
Shell:     the one process that imports FastAPI, uvicorn and prometheus-client.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import ssl
import time
from collections.abc import Sequence
from functools import lru_cache

import uvloop

from clb.control.app import create_app
from clb.control.events import EventHistory
from clb.control.guard import Door, Guard
from clb.control.hosts import KnownHosts
from clb.control.node import Node, SupervisorSilent, listeners
from clb.control.rates import RateWindow
from clb.control.token import AdminToken, TokenFault
from clb.control.told import take_event
from clb.health.streaks import SUSPECTED
from clb.observe.logging import fields
from clb.observe.metrics import build_exposition
from clb.service.admin_server import AdminServer, admin_context, renew_identity
from clb.service.bundle import Outline
from clb.service.bundle_files import BundleReader
from clb.service.channel import Message
from clb.service.counter_totals import CountersFollowed
from clb.service.health_file import HealthFile
from clb.service.probe import Checker
from clb.service.prober import Prober
from clb.service.starts import ControlStart
from clb.service.state import load_cookie_key
from clb.service.supervisor_link import SupervisorLink

SECOND = 1.0
SAMPLING_SHARE = 50
"""One part in so many of the time goes into adding counters up for rates."""

_logger = logging.getLogger(__name__)


def run_control(start: ControlStart) -> int:
    """Serve management until the supervisor says so or is gone; return the exit status."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_ControlProcess(start).run())


class _ControlProcess:
    def __init__(self, start: ControlStart) -> None:
        self._start = start
        self._reader = BundleReader()
        self._end = asyncio.Event()
        self._counters = CountersFollowed(start.counters)
        self._sampled_at = float("-inf")
        self._sampling_s = 0.0
        self._tls: ssl.SSLContext | None = None
        self._admin_names: tuple[str, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        start = self._start
        self._link = SupervisorLink(start.channel, loop, self._received, self._end.set)
        outline = self._reader.outline(start.outline)
        self._node = self._make_node(outline)
        self._checker = Checker()
        self._prober = Prober(
            start.cells,
            self._checker,
            self._node.events,
            lambda: self._link.send({"type": "health"}),
            time.time,
            file=HealthFile(start.state_dir, time.time),
            ejections=self._node.ejections,
        )
        self._node.health = self._prober
        self._token = AdminToken(start.state_dir)
        self._door = Door(self._token, self._known_hosts(), outline.config.admin.metrics_open)
        servers = self._make_servers()
        for server in servers:
            await server.start()
        self._node.events.add("control_started", "the management process began", "control", pid=os.getpid())
        gc.collect()
        gc.freeze()
        # Last, since making the routes takes longer than a check may.
        await self._checker.warm_up()
        self._prober.update(self._node.outline)
        self._prober.start()
        ticking = asyncio.create_task(self._tick())
        _logger.info("management serves", extra=fields(**_where(outline)))
        self._link.send({"type": "ready"})  # From now on there is something to end in order.
        await self._end.wait()
        ticking.cancel()
        await self._prober.stop()
        await self._checker.close()
        for server in servers:
            await server.stop()
        self._link.close()
        self._counters.close()
        return 0

    # --- making things ---

    def _make_node(self, outline: Outline) -> Node:
        start = self._start

        @lru_cache(maxsize=1)
        def cookie_key() -> bytes | None:
            try:
                return load_cookie_key(start.state_dir)
            except (OSError, ValueError):
                return None  # Sessions cannot be explained; that is all.

        return Node(
            outline,
            start.cells,
            self._link,
            EventHistory(time.time),
            RateWindow(time.monotonic),
            time.time,
            started_at=time.time(),
            totals=self._counters,
            cookie_key=cookie_key,
        )

    def _make_servers(self) -> list[AdminServer]:
        app = create_app(self._node, build_exposition(self._node))
        servers = [AdminServer(Guard(app, None), self._start.control_socket)]
        try:
            self._token.ensure()
        except TokenFault as fault:
            # Whoever asks gets 503 until the file is put right; the control socket needs no token.
            _logger.error("management token", extra=fields(error=str(fault)))
        if self._start.admin_identity is not None:
            identity = self._reader.admin(self._start.admin_identity)
            self._tls, self._admin_names = admin_context(identity), identity.names
            self._door.hosts = self._known_hosts()
        servers.append(AdminServer(Guard(app, self._door), self._start.admin_socket, self._tls))
        return servers

    def _known_hosts(self) -> KnownHosts:
        config = self._node.outline.config
        return KnownHosts([config.node.name, os.uname().nodename, *config.admin.hosts, *self._admin_names])

    # --- what the supervisor says ---

    def _received(self, message: Message, files: Sequence[int]) -> None:
        kind = message["type"]
        if kind == "snapshot":
            self._take_snapshot(files)
        elif kind == "event" and message["event"].get("kind") == SUSPECTED:
            self._prober.suspected(message["event"])
        elif kind == "event":
            take_event(self._node, message["event"])

    def _take_snapshot(self, files: Sequence[int]) -> None:
        # All at once: a millisecond for what is new. Nobody waits for this loop but people and probes.
        outline = self._reader.outline(files[0])
        self._node.replace_outline(outline)
        if self._prober.is_started:
            self._prober.update(outline)
        if self._tls is not None and len(files) > 1:
            identity = self._reader.admin(files[1])
            renew_identity(self._tls, identity)
            self._admin_names = identity.names
        self._door.hosts = self._known_hosts()
        self._door.metrics_open = outline.config.admin.metrics_open

    # --- each second ---

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SECOND
            await self._look_around()
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._node.loop_lag_s = max(0.0, loop.time() - due)

    async def _look_around(self) -> None:
        node = self._node
        try:
            node.take_processes(await self._link.ask("processes"))
        except SupervisorSilent as silent:
            _logger.debug("no word of the processes", extra=fields(error=str(silent)))
        node.forget_drained()
        # Many rules take a while to be added up: never more than a small share of the time.
        now = time.monotonic()
        if now - self._sampled_at >= self._sampling_s * SAMPLING_SHARE:
            self._sample_rates()
            self._sampled_at, self._sampling_s = now, time.monotonic() - now

    def _sample_rates(self) -> None:
        node = self._node
        totals = node.totals()
        counted = ((key, totals.listener(key)) for key, _, _ in listeners(node.outline))
        node.rates.take({key: total for key, total in counted if total is not None})


def _where(outline: Outline) -> dict[str, object]:
    admin = outline.config.admin
    return {"address": admin.address, "port": admin.port, "tls": admin.tls is not None, "version": outline.version}
