"""One worker: a loop that serves what it was given, and does what the supervisor says.

Owns:      the order of start and end, the drain, the answers to the supervisor.
Elsewhere: what is served (assembly.py); changing it (renewal.py); sockets and the other processes (supervisor.py).

When the channel closes, the supervisor is gone: the worker drains and ends. A signal that is meant for a single worker
(SIGTERM) drains it as well; another one is there by then.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import uvloop

from clb.health.streaks import SUSPECTED, Failure
from clb.metering.ledger_registry import ledgers_in
from clb.observe.access_log import open_access_log
from clb.observe.logging import RateLimited, fields
from clb.proxy.admission import NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.listener import ListenerRuntime
from clb.proxy.node_share import NodeShare
from clb.proxy.sweep import Sweep
from clb.service import collector
from clb.service.assembly import Assembly
from clb.service.bundle import Outline
from clb.service.bundle_files import BundleReader, close_files
from clb.service.channel import Message
from clb.service.channel_loop import LoopChannel
from clb.service.health_view import HealthView
from clb.service.renewal import Renewal
from clb.service.starts import WorkerStart
from clb.service.steps import in_steps
from clb.service.surroundings import Surroundings
from clb.tls.contexts import ContextFault
from clb.tls.sni_errors import install_sni_error_hook

EXIT_REFUSED = 1
"""The worker cannot serve what it was given; it has said why."""
EVENTS_PER_SECOND = 5
"""Log lines a second for each reason that a stranger can cause; the rest are counted and told of in one line."""
_DRAIN_STEP_S = 0.05
_GOODBYE_S = 0.05
"""So long the last words of connections that are cut have to get out."""

_logger = logging.getLogger(__name__)


def run_worker(start: WorkerStart) -> int:
    """Serve until the supervisor ends it; return the exit status."""
    # libuv would hand each change of what it polls to io_uring, one at a time, which costs more than epoll_ctl does.
    os.environ.setdefault("UV_USE_IO_URING", "0")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(start))


async def _run(start: WorkerStart) -> int:
    gc.disable()  # Until all that is to stay has been made (collector.settle).
    try:
        worker = Worker(start)
    except (ContextFault, OSError, ValueError) as error:
        start.channel.send({"type": "refused", "version": start.version, "error": _said(error)})
        return EXIT_REFUSED
    return await worker.run()


def _said(error: Exception) -> str:
    return f"TLS cannot be set up: {error}" if isinstance(error, ContextFault) else str(error)


class Worker:
    """Everything of one worker process; made once."""

    def __init__(self, start: WorkerStart) -> None:
        """Build what is to be served; nobody is accepted yet.

        Raises:
            ContextFault: OpenSSL refuses a certificate, CA or CRL.
            OSError: the access log cannot be opened.
            ValueError: the configuration asks for what this process cannot do.
        """
        self._start = start
        self._loop = loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._quit = asyncio.Event()
        self._refuses = True
        self._clock = Clock(loop.time)
        self._events = RateLimited(logging.getLogger("clb.proxy"), EVENTS_PER_SECOND)
        reader = BundleReader()
        outline = replace(reader.outline(start.outline, *start.changes), version=start.version)
        keys = reader.keys(start.keys, *start.stored_keys)
        close_files(start.outline, *start.changes, start.keys, *start.stored_keys)
        share = NodeShare(start.cells, start.keyed, start.column, outline.rows, loop.time())
        self._health = HealthView(lambda: self._assembly.listeners, start.cells, share, time.time)
        self._health_changed = asyncio.Event()
        self._rules_to_look_at: set[str] | None = set()
        """None: all of them."""
        self._surroundings = self._surround(outline, share)
        self._assembly = Assembly(self._surroundings, start.bases)
        self._assembly.start(outline, keys)
        self._surroundings.ledgers.make_room()
        self._renewal = Renewal(self._assembly, self._surroundings, self._health, reader, outline, keys, self._send)
        self._sweep = Sweep(loop, (self._look_at_node, self._health.sweep, self._assembly.sweep, self._flush))
        self._channel: LoopChannel | None = None

    def _surround(self, outline: Outline, share: NodeShare) -> Surroundings:
        start, node = self._start, outline.config.node
        access_log = open_access_log(str(node.access_log.path), node.access_log.format, self._clock.wall)
        return Surroundings(
            self._loop,
            self._clock,
            access_log,
            self._events,
            start.cookie_key,
            NodeAdmission(share, node.limits, self._events),
            start.cells,
            start.column,
            self._suspect,
            self._health.look_at,
            ledgers=ledgers_in(start.counters, _logger.warning),
        )

    # --- life ---

    async def run(self) -> int:
        """Serve, drain, end; return the exit status."""
        self._channel = LoopChannel(self._start.channel, self._loop, self._received, self._stop.set)
        self._loop.add_signal_handler(signal.SIGTERM, self._retire)
        health = self._loop.create_task(self._follow_health())
        install_sni_error_hook(lambda reason: self._events.log(logging.INFO, reason, "server name refused"))
        try:
            for (key, slot), sock in self._start.sockets.items():
                await self._assembly.listeners[key].accept_on(self._loop, sock, slot)
            self._sweep.start()
            collector.settle()
            self._send({"type": "ready", "version": self._start.version})
            await self._stop.wait()
            await self._drain()
        finally:
            health.cancel()
            await self._end()
        self._send({"type": "drained"})
        return 0

    def _retire(self) -> None:
        """Drain while another worker has the sockets."""
        self._refuses = False
        self._stop.set()

    async def _drain(self) -> None:
        """Take no new connections and let what runs finish, for as long as `node.drain_timeout`."""
        self._renewal.stop()
        self._assembly.drain(refuses=self._refuses)
        connections = sum(len(runtime.connections) for _, runtime in self._assembly.every_listener())
        _logger.info("draining", extra=fields(connections=connections))
        self._send({"type": "draining", "connections": connections})
        give_up_at = self._loop.time() + self._renewal.outline.config.node.drain_timeout
        while not self._assembly.is_done:
            if self._quit.is_set() or self._loop.time() >= give_up_at:
                return
            await asyncio.sleep(_DRAIN_STEP_S)

    async def _end(self) -> None:
        self._renewal.stop()
        self._sweep.stop()
        cut = self._assembly.cut()
        await asyncio.sleep(_GOODBYE_S if cut else 0)
        self._assembly.close()
        await asyncio.sleep(0)  # Let the transports tell that they are gone, so that their bytes are counted.
        self._events.flush()
        self._surroundings.access_log.close()
        for key, runtime in self._assembly.every_listener():
            _log_totals(key, runtime)
        self._surroundings.ledgers.close()
        _logger.log(logging.WARNING if cut else logging.INFO, "stopped", extra=fields(connections_cut=cut))

    # --- every half second ---

    def _look_at_node(self, now: float) -> None:
        self._clock.synchronise()
        self._surroundings.node.sweep(now, self._sweep.lag_s)

    def _flush(self, now: float) -> None:
        self._surroundings.access_log.flush()
        self._events.flush()

    # --- what the supervisor says ---

    def _send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _received(self, message: Message, files: list[int]) -> None:
        handler = self._HANDLERS.get(message["type"])
        if handler is None:
            close_files(*files)
            _logger.error("an unknown message", extra=fields(type=message["type"]))
        else:
            handler(self, message, files)

    def _suspect(self, rule: str, target: str, failure: Failure, count: int, detail: str) -> None:
        """Tell the control process of a target that fails real requests; what becomes of it is its to decide."""
        event = {"kind": SUSPECTED, "rule": rule, "target": target, "failure": failure.value, "count": count}
        self._send({"type": "relay", "event": {**event, "detail": detail[:200]}})

    def _told_of_health(self, message: Message, files: list[int]) -> None:
        rules = message.get("rules")
        if rules is None:
            self._rules_to_look_at = None
        elif self._rules_to_look_at is not None:
            self._rules_to_look_at.update(rules)
        self._health_changed.set()

    async def _follow_health(self) -> None:
        """Read the states when they have changed; what changes meanwhile is read again."""
        while True:
            await self._health_changed.wait()
            self._health_changed.clear()
            rules, self._rules_to_look_at = self._rules_to_look_at, set()
            await in_steps(self._health.refresh_in_steps() if rules is None else self._health.refresh_some(rules))

    def _change(self, message: Message, files: list[int]) -> None:
        if self._stop.is_set():
            close_files(*files)  # Who drains serves what there is to the end.
        else:
            self._renewal.received(message, files)

    def _told_to_drain(self, message: Message, files: list[int]) -> None:
        self._refuses = bool(message["refuses"])
        self._stop.set()

    def _told_to_quit(self, message: Message, files: list[int]) -> None:
        self._quit.set()
        self._stop.set()

    def _reopen_logs(self, message: Message, files: list[int]) -> None:
        self._surroundings.access_log.reopen()

    def _lost(self, message: Message, files: list[int]) -> None:
        """There was no room for the descriptors that came with it."""
        if message["of"] == "prepare":
            error = "a worker has no descriptors left; raise the limit of open files"
            self._send({"type": "refused", "version": message["version"], "error": error})

    def _ping(self, message: Message, files: list[int]) -> None:
        draining = self._assembly.draining.targets
        self._send(
            {
                "type": "pong",
                "lag_ms": round(self._sweep.lag_s * 1000, 1),
                "draining": {"targets": len(draining), "requests": sum(draining.values())},
            }
        )

    _HANDLERS: dict[str, Callable[[Any, Message, list[int]], None]] = {  # noqa: RUF012 - a constant
        "prepare": _change,
        "activate": _change,
        "discard": _change,
        "drain": _told_to_drain,
        "quit": _told_to_quit,
        "health": _told_of_health,
        "reopen_logs": _reopen_logs,
        "ping": _ping,
        "lost": _lost,
    }


def _log_totals(key: str, runtime: ListenerRuntime) -> None:
    """Tell what a listener counted in this process and those that had its counter file before."""
    ledger = runtime.ledger
    _logger.info("ledger", extra=fields(listener=key, **asdict(ledger.snapshot())))
    _logger.info(
        "handshakes",
        extra=fields(
            listener=key,
            connections=ledger.connections,
            full=ledger.handshakes_full,
            resumed=ledger.handshakes_resumed,
            **{f"failed_{reason}": count for reason, count in sorted(ledger.handshakes_failed.items())},
        ),
    )
