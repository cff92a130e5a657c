"""The workers: who serves, who starts, who drains; what becomes of one that dies or hangs.

Owns:      the table of worker processes, restarts, pings, and what workers say about themselves.
Elsewhere: making one (spawning.py); changing what they serve (change.py, generation.py).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from clb.observe.logging import fields
from clb.service.channel import Channel, Message
from clb.service.handover import HeldChild
from clb.service.loading import Loaded
from clb.service.node import Node, Phase, Table
from clb.service.processes import describe_end, kill
from clb.service.reactor import Link, Timer
from clb.service.restarts import Restarts
from clb.service.spawning import Worker, WorkerState, spawn_worker

_logger = logging.getLogger(__name__)


class ChangeInProgress(Protocol):
    """Whoever is changing what workers serve, and wants to know what they say to it."""

    def ready(self, worker: Worker) -> None:
        """A worker has begun to serve."""

    def prepared(self, worker: Worker, version: int) -> None:
        """A worker can activate."""

    def refused(self, worker: Worker, version: int, error: str) -> None:
        """A worker cannot."""

    def activated(self, worker: Worker, version: int) -> None:
        """A worker has."""

    def gone(self, worker: Worker) -> None:
        """A worker is no more."""

    def renew(self, loaded: Loaded) -> None:
        """The version in service is in other files from now on."""


@dataclass(slots=True)
class Slot:
    """A place that one worker fills."""

    number: int
    restarts: Restarts
    worker: Worker | None = None
    timer: Timer | None = None
    """Of the next start."""


class Crew:
    """All workers, those that drain included."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.slots: dict[int, Slot] = {}
        self.workers: dict[int, Worker] = {}
        """By process id."""
        self.change: ChangeInProgress | None = None
        self.on_ready: Callable[[Worker], None] = lambda _: None
        self.on_loop: Callable[[Slot, str], None] = lambda *_: None
        """A slot's workers keep dying at their start; the text is what the last of them said, if it did."""
        self.on_gone: Callable[[Worker], None] = lambda _: None
        self.to_control: Callable[[Message], None] = lambda _: None

    # --- who there is ---

    def serving(self) -> list[Worker]:
        """Those that hold a slot and are ready."""
        return [worker for worker in self.holders() if worker.state is WorkerState.SERVING]

    def holders(self) -> Iterator[Worker]:
        """Those that hold a slot."""
        for slot in self.slots.values():
            if slot.worker is not None:
                yield slot.worker

    def all_serve(self) -> bool:
        """Whether every slot has a worker that is ready."""
        return len(self.serving()) == len(self.slots)

    def is_answering(self) -> bool:
        """Whether a worker has answered lately: what the watchdog is about."""
        return any(worker.unanswered < 3 for worker in self.workers.values())

    # --- coming and going ---

    def open_slots(self, count: int) -> None:
        """Have slots 0 to `count` - 1 filled, with what is in service."""
        new = [number for number in range(count) if number not in self.slots]
        for number in new:
            self.slots[number] = Slot(number, Restarts(self._node.settings.restart))
        for number in new:
            self._fill(number)

    def retire_slots(self, count: int) -> None:
        """Have `count` slots; the workers of the others drain."""
        for number in [each for each in self.slots if each >= count]:
            slot = self.slots.pop(number)
            if slot.timer is not None:
                slot.timer.cancel()
            if slot.worker is not None:
                self.drain(slot.worker)

    def spawn(self, number: int, loaded: Loaded, slots: int, table: Table | None = None) -> Worker | None:
        """Make a worker that holds no slot yet; None if there is no room for one.

        Raises:
            OSError: no process can be made.
        """
        table = table or self._node.table
        worker = spawn_worker(self._node, number, loaded, slots, table, self._received, self._closed)
        if worker is not None:
            self.adopt(worker)
            self._expect_within(worker, self._node.settings.start_timeout_s)
            _logger.info("worker started", extra=fields(slot=number, worker=worker.pid, version=loaded.version))
        return worker

    def adopt(self, worker: Worker) -> None:
        """Take a child in that exists."""
        self.workers[worker.pid] = worker
        self._node.reaper.expect(worker.pid, lambda status: self._ended(worker, status))

    def adopt_held(self, child: HeldChild) -> Worker:
        """Take in a worker that an earlier program made."""
        channel = Channel(socket.socket(fileno=child.channel))
        link = Link(
            channel,
            self._node.reactor,
            lambda message, files: self._received(worker, message, files),
            lambda: self._closed(worker),
        )
        worker = Worker(child.pid, child.slot, child.version, child.started_at, link, state=WorkerState.SERVING)
        self.adopt(worker)
        return worker

    def seat(self, worker: Worker) -> None:
        """Give a worker its slot, from another if one has it, which then drains."""
        slot = self.slots.setdefault(worker.slot, Slot(worker.slot, Restarts(self._node.settings.restart)))
        old, slot.worker = slot.worker, worker
        if slot.timer is not None:
            slot.timer.cancel()
        if old is not None:
            self.drain(old)

    def drain(self, worker: Worker) -> None:
        """Take no more connections, finish, end: the worker keeps the time itself, and we keep it too."""
        if worker.state is WorkerState.DRAINING:
            return
        worker.state = WorkerState.DRAINING
        # Who drains because others serve must not turn clients away from the sockets that they share.
        worker.link.send({"type": "drain", "refuses": self._node.phase is Phase.STOPPING})
        self._expect_within(worker, self._node.drain_timeout + self._node.settings.drain_grace_s)

    def quit(self, worker: Worker) -> None:
        """End at once."""
        worker.state = WorkerState.DRAINING
        worker.link.send({"type": "quit"})
        self._expect_within(worker, self._node.settings.end_timeout_s)

    def say_to_all(self, message: Message) -> None:
        """Tell every worker something."""
        for worker in list(self.workers.values()):
            worker.link.send(message)

    def ping(self) -> None:
        """Ask every worker whether it is still there, and replace who has not answered for long."""
        for worker in list(self.workers.values()):
            if worker.state is WorkerState.STARTING:
                continue
            if worker.unanswered >= self._node.settings.hung_after:
                _logger.error("worker does not answer and is ended", extra=_who(worker))
                kill(worker.pid)
                continue
            worker.unanswered += 1
            worker.link.send({"type": "ping"})

    def _fill(self, number: int) -> None:
        """Start the worker of a slot with the configuration in service."""
        slot = self.slots.get(number)
        active = self._node.active
        if slot is None or slot.worker is not None or active is None or self._node.phase is Phase.STOPPING:
            return
        slot.timer = None
        try:
            slot.worker = self.spawn(number, active, len(self.slots))
        except OSError as error:
            _logger.error("worker cannot be started", extra=fields(slot=number, error=error.strerror))
        if slot.worker is None:
            self._fill_later(slot, slot.restarts.died(0.0))

    def _fill_later(self, slot: Slot, delay_s: float) -> None:
        slot.timer = self._node.reactor.after(delay_s, lambda: self._fill(slot.number))

    def _ended(self, worker: Worker, status: int) -> None:
        worker.link.read_rest()
        worker.link.close()
        worker.set_deadline(None)
        self.workers.pop(worker.pid, None)
        if worker.column is not None and worker.table is not None:
            worker.table.give_back(worker.column)
        was_told = worker.state is WorkerState.DRAINING
        end = {"slot": worker.slot, "worker": worker.pid, **describe_end(status)}
        if was_told:
            _logger.info("worker ended", extra=fields(**end))
        else:
            _logger.error("worker died", extra=fields(**end))
            self._tell("worker_died", **end)
        if self.change is not None:
            self.change.gone(worker)
        if not was_told:
            self._vacate(worker)
        self.on_gone(worker)

    def _vacate(self, worker: Worker) -> None:
        """Let another have the slot of a worker that died or leaves."""
        slot = self.slots.get(worker.slot)
        if slot is None or slot.worker is not worker:
            return
        slot.worker = None
        if self._node.phase is Phase.STOPPING:
            return
        delay_s = slot.restarts.died(self._node.reactor.now() - worker.started_at)
        if slot.restarts.is_loop:
            self.on_loop(slot, worker.refusal)
        elif delay_s:
            self._fill_later(slot, delay_s)
        else:
            self._fill(slot.number)

    def _expect_within(self, worker: Worker, seconds: float) -> None:
        worker.set_deadline(self._node.reactor.after(seconds, lambda: self._late(worker)))

    def _closed(self, worker: Worker) -> None:
        """Who does not speak to us any more is ending; if not, we end it."""
        if worker.pid in self.workers:
            self._expect_within(worker, self._node.settings.end_timeout_s)

    def _late(self, worker: Worker) -> None:
        what = "draining" if worker.state is WorkerState.DRAINING else "starting"
        _logger.warning(
            "worker takes too long and is ended", extra=fields(slot=worker.slot, worker=worker.pid, at=what)
        )
        kill(worker.pid)

    # --- what they say ---

    def _received(self, worker: Worker, message: Message, files: list[int]) -> None:
        worker.unanswered = 0
        handler = self._HANDLERS.get(message["type"])
        if handler is not None:
            handler(self, worker, message)

    def _ready(self, worker: Worker, message: Message) -> None:
        if worker.state is not WorkerState.STARTING:
            return
        worker.set_deadline(None)
        worker.state = WorkerState.SERVING
        _logger.info("worker serves", extra=_who(worker))
        self._tell("worker_started", slot=worker.slot, worker=worker.pid)
        if self.change is not None:
            self.change.ready(worker)
        self.on_ready(worker)

    def _prepared(self, worker: Worker, message: Message) -> None:
        if self.change is not None:
            self.change.prepared(worker, message["version"])

    def _refused(self, worker: Worker, message: Message) -> None:
        worker.refusal = str(message["error"])
        if worker.state is not WorkerState.SERVING:
            _logger.error("worker cannot serve", extra=fields(slot=worker.slot, error=worker.refusal))
        elif self.change is not None:
            self.change.refused(worker, message["version"], worker.refusal)

    def _active(self, worker: Worker, message: Message) -> None:
        if self.change is not None:
            self.change.activated(worker, message["version"])

    def _draining(self, worker: Worker, message: Message) -> None:
        worker.connections = message.get("connections", 0)
        if worker.state is WorkerState.SERVING:
            # Somebody else told it to. Its socket must not wait until it is done.
            self._leaves(worker)

    def _leaves(self, worker: Worker) -> None:
        _logger.warning("worker drains unasked and is replaced", extra=_who(worker))
        worker.state = WorkerState.DRAINING
        self._expect_within(worker, self._node.drain_timeout + self._node.settings.drain_grace_s)
        if self.change is not None:
            self.change.gone(worker)
        self._vacate(worker)

    def _pong(self, worker: Worker, message: Message) -> None:
        worker.lag_ms = message.get("lag_ms", 0.0)

    def _relay(self, worker: Worker, message: Message) -> None:
        self.to_control({"type": "event", "event": message["event"], "slot": worker.slot, "worker": worker.pid})

    def _tell(self, kind: str, **what: object) -> None:
        self.to_control({"type": "event", "event": {"kind": kind, **what}})

    _HANDLERS: dict[str, Callable[[Any, Worker, Message], None]] = {  # noqa: RUF012 - a constant
        "ready": _ready,
        "prepared": _prepared,
        "refused": _refused,
        "active": _active,
        "draining": _draining,
        "drained": _draining,
        "pong": _pong,
        "relay": _relay,
    }


def _who(worker: Worker) -> dict[str, object]:
    return fields(slot=worker.slot, worker=worker.pid)
