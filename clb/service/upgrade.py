"""SIGUSR2: become the program that is installed now, without a connection lost.

Owns:      the check by the new program, and what is handed to it.
Elsewhere: the exec (handover.py); what the new program does with it (supervisor.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from clb.observe.logging import fields
from clb.service import handover, signals
from clb.service.control_keeper import ControlKeeper
from clb.service.crew import Crew
from clb.service.handover import Handover, HeldChild, HeldSockets
from clb.service.node import Node
from clb.service.processes import fork_child, kill
from clb.service.reactor import Timer
from clb.service.sockets import Address
from clb.service.spawning import WorkerState

LONGEST_OUTPUT = 65_536

_logger = logging.getLogger(__name__)


class Upgrade:
    """One attempt. If it succeeds, this program ends with it."""

    def __init__(
        self, node: Node, crew: Crew, control: ControlKeeper, may_go: Callable[[], bool], failed: Callable[[], None]
    ) -> None:
        self._node = node
        self._crew = crew
        self._control = control
        self._may_go = may_go
        self._failed = failed
        self._output = -1
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Let the new program check the configuration; it also shows that it can be started at all."""
        command = handover.check_command(self._node.settings.config_path)
        if command is None:
            self._fail("the command line that started this program is not known")
            return
        self._output = os.memfd_create("clb-check", os.MFD_CLOEXEC)
        try:
            pid = fork_child(
                "check", lambda: _run(command, self._output), keep=[self._output], log=self._node.settings.log
            )
        except OSError as error:
            self._fail(f"no process can be made: {error.strerror}")
            return
        self._timer = self._node.reactor.after(self._node.settings.load_timeout_s, lambda: kill(pid))
        self._node.reaper.expect(pid, self._checked)
        _logger.info("upgrade begins: the new program checks the configuration", extra=fields(check=pid))

    def _checked(self, status: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        output = os.pread(self._output, LONGEST_OUTPUT, 0).decode("utf-8", "replace")
        os.close(self._output)
        if os.waitstatus_to_exitcode(status) != 0:
            for line in output.splitlines():
                _logger.error(line)
            self._fail("the new program does not take the configuration")
        elif not self._may_go():
            self._fail("the node has become busy meanwhile")
        else:
            self._become()

    def _become(self) -> None:
        _logger.info("the new program takes over")
        self._node.notifier.reloading()
        signals.hold_back()
        try:
            handover.become(held_by(self._node, self._crew, self._control), handover.program())
        except OSError as error:
            signals.let_through()
            self._fail(f"the new program cannot be started: {error.strerror}")

    def _fail(self, reason: str) -> None:
        _logger.error("no upgrade, this program goes on", extra=fields(reason=reason))
        self._failed()


def _run(command: list[str], output: int) -> int:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execve(command[0], command, {**os.environ, "NOTIFY_SOCKET": ""})  # noqa: S606 - our own command line


def held_by(node: Node, crew: Crew, control: ControlKeeper) -> Handover:
    """Everything that must outlive this program."""
    assert node.active is not None
    assert node.control_socket is not None
    assert node.admin_socket is not None
    assert node.admin_address is not None
    children = [
        HeldChild(
            role="worker",
            pid=worker.pid,
            slot=worker.slot,
            channel=worker.link.channel.fileno(),
            version=worker.version,
            is_draining=worker.state is WorkerState.DRAINING,
            started_at=worker.started_at,
        )
        for worker in crew.workers.values()
        if worker.link.is_open
    ]
    if (held := control.held()) is not None:
        children.append(held)
    groups: dict[Address, list[int]] = {}
    for at, _, sock in node.sockets:
        groups.setdefault(at, []).append(sock.fileno())
    return Handover(
        version=node.version,
        state_dir=str(node.state_dir),
        lock=node.lock,
        control_socket=node.control_socket.fileno(),
        admin=HeldSockets(*node.admin_address, [node.admin_socket.fileno()]),
        sockets=[HeldSockets(address, port, numbers) for (address, port), numbers in groups.items()],
        children=children,
        judged=node.table.judgements(node.active.rows),
        drain_timeout=node.drain_timeout,
    )
