"""What a program does with the processes that its predecessor left (SIGUSR2).

Owns:      taking them over, and letting them go once its own are ready.
Elsewhere: how they crossed (handover.py).
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from clb.observe.logging import fields
from clb.service.channel import Channel
from clb.service.control_keeper import ControlKeeper
from clb.service.crew import Crew
from clb.service.handover import Handover, HeldChild, open_sockets
from clb.service.node import Node
from clb.service.processes import kill
from clb.service.spawning import Worker, WorkerState

_logger = logging.getLogger(__name__)


class Inheritance:
    """Nothing at all, in a program that an operator started."""

    def __init__(self, node: Node, crew: Crew) -> None:
        self._node = node
        self._crew = crew
        self._workers: list[Worker] = []
        self._control: tuple[int, Channel] | None = None
        self.goes_on_without_us = False
        """This program could not begin to serve, and waits for a word to try again."""

    def take(self, handover: Handover) -> None:
        """Take over files and children."""
        node = self._node
        node.version = handover.version
        node.state_dir = Path(handover.state_dir)
        node.lock = handover.lock
        node.inherited_drain_timeout = handover.drain_timeout
        node.inherited_judgements = handover.judged
        node.control_socket = socket.socket(fileno=handover.control_socket)
        (node.admin_socket,) = open_sockets(handover.admin)
        node.admin_address = (handover.admin.address, handover.admin.port)
        for group in handover.sockets:
            node.sockets.groups[group.address, group.port] = open_sockets(group)
        for child in handover.children:
            if child.role == "worker":
                self._take_worker(child)
            else:
                self._take_control(child)
        _logger.info("took over", extra=fields(workers=len(self._workers), version=handover.version))

    def _take_worker(self, child: HeldChild) -> None:
        worker = self._crew.adopt_held(child)
        self._workers.append(worker)
        if child.is_draining:
            worker.state = WorkerState.SERVING
            self._crew.drain(worker)

    def workers(self) -> list[Worker]:
        """Those that still serve for the predecessor."""
        return [
            worker
            for worker in self._workers
            if worker.pid in self._crew.workers and worker.state is not WorkerState.DRAINING
        ]

    def drain(self) -> None:
        """Our own are ready."""
        for worker in self.workers():
            self._crew.drain(worker)
        self._workers = []

    def end_control(self) -> None:
        """Ours takes its place. Who calls meanwhile waits in the socket, which is the same."""
        if self._control is not None:
            pid, channel = self._control
            self._control = None
            channel.close()
            timer = self._node.reactor.after(self._node.settings.end_timeout_s, lambda: kill(pid))
            self._node.reaper.expect(pid, lambda _: timer.cancel())

    def go_on_without_us(self, control: ControlKeeper) -> None:
        """Take back what this program has begun."""
        self.goes_on_without_us = True
        for slot in self._crew.slots.values():
            if slot.timer is not None:
                slot.timer.cancel()
            if slot.worker is not None:
                self._crew.quit(slot.worker)
        self._crew.slots.clear()
        control.stop()
        if self._node.active is not None:
            self._node.active.close()
            self._node.active = None

    def _take_control(self, child: HeldChild) -> None:
        self._control = (child.pid, Channel(socket.socket(fileno=child.channel)))
