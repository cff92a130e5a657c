"""Make a worker or a control process: what each is given, and what it must not have.

Owns:      putting the starts together, and the record of a child.
Elsewhere: the fork itself (processes.py); when (crew.py, control_keeper.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from clb.service.channel import Channel, Message
from clb.service.loading import Loaded
from clb.service.node import Node, Table
from clb.service.processes import fork_child
from clb.service.reactor import Link, Timer
from clb.service.sockets import Address, Place
from clb.service.starts import ControlStart, WorkerStart
from clb.service.worker import run_worker

_logger = logging.getLogger(__name__)


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    SERVING = "ready"
    DRAINING = "draining"
    """Told to end, by and by or at once."""


@dataclass(eq=False, slots=True)
class Worker:
    """A worker process; compared by identity."""

    pid: int
    slot: int
    version: int
    """Of the configuration that it serves."""
    started_at: float
    link: Link = field(repr=False)
    table: Table | None = field(default=None, repr=False)
    column: int | None = None
    """None of one that was there before this program."""
    state: WorkerState = WorkerState.STARTING
    places: dict[Place, Address] = field(default_factory=dict)
    """Where it accepts."""
    unanswered: int = 0
    """Pings since it last said anything."""
    lag_ms: float = 0.0
    connections: int = 0
    """While it drains."""
    refusal: str = ""
    """Why it cannot serve, in its own words."""
    deadline: Timer | None = field(default=None, repr=False)

    def set_deadline(self, timer: Timer | None) -> None:
        """What it must do next, it must have done by then."""
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = timer


def spawn_worker(
    node: Node,
    slot: int,
    loaded: Loaded,
    slots: int,
    table: Table,
    received: Callable[[Worker, Message, list[int]], None],
    closed: Callable[[Worker], None],
) -> Worker | None:
    """Fork a worker; None if every column of the cells has its process.

    Raises:
        OSError: no process can be made.
    """
    column = table.take_column()
    if column is None:
        _logger.error("too many workers drain at once")
        return None
    ours, theirs = Channel.pair()
    sockets = node.sockets.of_slot(loaded.listeners, slot, slots)
    start = WorkerStart(
        slot=slot,
        column=column,
        version=loaded.version,
        channel=theirs,
        outline=loaded.outline,
        keys=loaded.keys,
        changes=loaded.changes,
        stored_keys=loaded.stored_keys,
        bases=node.bases.contexts,
        sockets=sockets,
        cells=table.cells,
        keyed=table.keyed,
        state_dir=node.state_dir,
        counters=node.counters,
        log=node.settings.log,
        supervisor_pid=os.getpid(),
        cookie_key=node.cookie_key,
    )
    keep = [theirs.fileno(), *loaded.for_workers, *(sock.fileno() for sock in sockets.values())]
    try:
        pid = fork_child(
            f"worker-{slot}",
            lambda: run_worker(start),
            keep=keep,
            log=node.settings.log,
            credentials=node.credentials,
        )
    except OSError:
        ours.close()
        table.give_back(column)
        raise
    finally:
        theirs.close()
    link = Link(
        ours,
        node.reactor,
        lambda message, files: received(worker, message, files),
        lambda: closed(worker),
    )
    worker = Worker(
        pid=pid,
        slot=slot,
        version=loaded.version,
        started_at=node.reactor.now(),
        link=link,
        table=table,
        column=column,
        places={place: loaded.listeners[place[0]] for place in sockets},
    )
    return worker


def spawn_control(node: Node, received: Callable[[Message, list[int]], None]) -> tuple[int, Link]:
    """Fork a control process with the configuration in service; return its id and the channel to it.

    Raises:
        OSError: no process can be made.
    """
    active = node.active
    assert active is not None
    assert node.control_socket is not None
    assert node.admin_socket is not None
    ours, theirs = Channel.pair()
    start = ControlStart(
        version=active.version,
        channel=theirs,
        outline=active.outline,
        changes=active.changes,
        keyring=active.keyring,
        admin_identity=active.admin_identity,
        control_socket=node.control_socket,
        admin_socket=node.admin_socket,
        cells=node.table.cells,
        state_dir=node.state_dir,
        counters=node.counters,
        log=node.settings.log,
        config_path=node.settings.config_path,
        supervisor_pid=os.getpid(),
    )
    keep = [theirs.fileno(), *active.for_control, node.control_socket.fileno(), node.admin_socket.fileno()]
    keep += [each for each in (active.admin_identity, active.keyring) if each is not None]
    try:
        pid = fork_child(
            "control",
            lambda: _run_control(start),
            keep=keep,
            log=node.settings.log,
            credentials=node.credentials,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, Link(ours, node.reactor, received, lambda: None)


def _run_control(start: ControlStart) -> int:
    # Here and not above: what it needs (a web framework) has no place in the memory of workers.
    from clb.service.control_process import run_control

    return run_control(start)
