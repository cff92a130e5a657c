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
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import uvloop

from clb.certificates.keyring import Signer
from clb.config.models import Config
from clb.control.events import EventHistory
from clb.control.keyring_holder import KeyringHolder
from clb.control.node import Node, SupervisorSilent, listeners
from clb.control.rates import RateWindow
from clb.control.told import take_event
from clb.health.streaks import SUSPECTED
from clb.observe.logging import fields
from clb.service.applying import Applying
from clb.service.bundle import Outline
from clb.service.bundle_files import BundleReader
from clb.service.channel import Message
from clb.service.counter_totals import CountersFollowed
from clb.service.health_file import HealthFile
from clb.service.ledger_keeper import LedgerKeeper
from clb.service.management import Management
from clb.service.outline_parts import Differences
from clb.service.probe import Checker
from clb.service.prober import Prober
from clb.service.starts import ControlStart
from clb.service.state import load_cookie_key
from clb.service.store_keeper import LateStore, StoreKeeper
from clb.service.supervisor_link import SupervisorLink
from clb.store.database import Database, prepare_store

NICENESS = 5
"""A third of a worker's weight: probes are made in time on a node that is busy."""
SECOND = 1.0
SAMPLING_SHARE = 50
"""One part in so many of the time goes into adding counters up for rates."""

_logger = logging.getLogger(__name__)


def run_control(start: ControlStart) -> int:
    """Serve management until the supervisor says so or is gone; return the exit status."""
    with suppress(OSError):
        # Where processors are short, clients go first: a write may take a few milliseconds longer, a request may not.
        os.nice(NICENESS)
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
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        start = self._start
        self._link = SupervisorLink(start.channel, loop, self._received, self._end.set)
        outline = replace(self._reader.outline(start.outline, *start.changes), version=start.version)
        self._node = self._make_node(outline)
        self._checker = Checker()
        self._prober = Prober(
            start.cells,
            self._checker,
            self._node.events,
            lambda rules: self._link.send({"type": "health", "rules": rules}),
            time.time,
            file=HealthFile(start.state_dir, time.time),
            ejections=self._node.ejections,
        )
        self._node.health = self._prober
        secret = self._reader.secret(start.keyring) if start.keyring is not None else None
        self._node.keyring = KeyringHolder(start.state_dir, outline.config.keyring, secret)
        store = LateStore(partial(_prepared_store, outline.config, start.state_dir))
        applying = Applying(
            self._link, lambda: self._node.outline, self._take_outline, lambda: self._node.keyring.keyring
        )
        self._store_keeper = StoreKeeper(self._node, store, applying, start.state_dir)
        self._ledger = LedgerKeeper(
            store.ledger, start.counters, lambda: self._node.outline.config, self._node.events, signer=self._signer
        )
        self._node.ledger = store.ledger
        identity = self._reader.admin(start.admin_identity) if start.admin_identity is not None else None
        self._management = Management(self._node, start, identity)
        await self._management.start()
        self._node.events.add("control_started", "the management process began", "control", pid=os.getpid())
        gc.collect()
        gc.freeze()
        # Last, since making the routes takes longer than a check may.
        await self._checker.warm_up()
        self._prober.update(self._node.outline)
        self._prober.start()
        work = (self._tick(), self._management.look_after(), self._store_keeper.run(), self._ledger.run())
        ticking = [asyncio.create_task(each) for each in work]
        _logger.info("management serves", extra=fields(**_where(self._node)))
        self._link.send({"type": "ready"})  # From now on there is something to end in order.
        await self._end.wait()
        for task in ticking:
            task.cancel()
        await self._prober.stop()
        await self._checker.close()
        await self._management.stop()
        self._ledger.close()
        self._store_keeper.close()
        self._link.close()
        self._counters.close()
        return 0

    def _signer(self) -> Signer | None:
        keyring = self._node.keyring.keyring
        return keyring.signer if keyring is not None else None

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

    # --- what the supervisor says ---

    def _received(self, message: Message, files: Sequence[int]) -> None:
        kind = message["type"]
        if kind == "snapshot":
            self._take_snapshot(message, files)
        elif kind == "event" and message["event"].get("kind") == SUSPECTED:
            self._prober.suspected(message["event"])
        elif kind == "event":
            take_event(self._node, message["event"])

    def _take_snapshot(self, message: Message, files: Sequence[int]) -> None:
        # All at once: a millisecond for what is new. Nobody waits for this loop but people and probes.
        outlines = int(message.get("outlines", 1))
        outline = replace(self._reader.outline(*files[:outlines]), version=int(message["version"]))
        extra = dict(zip(message.get("extra", ()), files[outlines:], strict=True))
        secret = self._reader.secret(extra["keyring"]) if "keyring" in extra else None
        self._node.keyring.take(outline.config.keyring, secret)
        self._take_outline(outline)
        self._management.follow(self._reader.admin(extra["admin"]) if "admin" in extra else None)

    def _take_outline(self, outline: Outline, found: Differences | None = None) -> None:
        """Another state is in service; what is other in it may be known already."""
        self._node.replace_outline(outline, found)
        if self._prober.is_started:
            self._prober.update(outline, found)

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


def _where(node: Node) -> dict[str, object]:
    admin, tls = node.outline.config.admin, node.admin_tls
    return {
        "address": admin.address,
        "port": admin.port,
        "tls": tls is not None,
        "fingerprint": tls.fingerprint if tls is not None else None,
        "version": node.outline.version,
    }


def _prepared_store(config: Config, state_dir: Path) -> Database:
    url = config.store.url.get_secret_value() if config.store.url is not None else None
    return prepare_store(url, state_dir)
