"""The control process from the supervisor's side: kept alive, told what happens, asked nothing.

Owns:      its restarts, its messages in both directions.
Elsewhere: what it does (control_process.py); what it asks for (reload.py).

It may die and come back without traffic noticing: workers serve by what it said last, which is in the cells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from clb.observe.logging import fields
from clb.service.bundle_files import close_files
from clb.service.channel import Message
from clb.service.handover import HeldChild
from clb.service.node import Node, Phase
from clb.service.processes import describe_end, kill
from clb.service.reactor import Link, Timer
from clb.service.restarts import Restarts
from clb.service.spawning import spawn_control

MOST_UNSENT = 1000
"""Events that wait while it does not read; then they are dropped, since the service matters more than its history."""

_logger = logging.getLogger(__name__)


class ControlKeeper:
    """At most one control process of this program; one that was inherited is only told to end."""

    def __init__(
        self,
        node: Node,
        requested: Callable[[Message, list[int]], None],
        health_changed: Callable[[Message], None],
    ) -> None:
        self._node = node
        self._requested = requested
        self._health_changed = health_changed
        self.restarts = Restarts(node.settings.restart)
        self.pid: int | None = None
        self.started_at = 0.0
        self._is_ready = False
        self._link: Link | None = None
        self._timer: Timer | None = None
        self._ending: set[int] = set()
        self.on_gone: Callable[[], None] = lambda: None
        self.on_decided: Callable[[Message], None] = lambda _: None
        """It says whether a write takes place."""
        self.on_lost: Callable[[], None] = lambda: None
        """What it has begun, nobody will end."""

    @property
    def is_there(self) -> bool:
        """Whether one runs, be it on its way out."""
        return self.pid is not None or bool(self._ending)

    def start(self) -> None:
        """Start it, with the configuration in service."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.pid is not None or self._node.phase is Phase.STOPPING:
            return
        try:
            self.pid, self._link = spawn_control(self._node, self._received)
        except OSError as error:
            _logger.error("control process cannot be started", extra=fields(error=error.strerror))
            self._start_later(self.restarts.died(0.0))
            return
        pid = self.pid
        self._is_ready = False
        self.started_at = self._node.reactor.now()
        self._node.reaper.expect(pid, lambda status: self._ended(pid, status))
        _logger.info("control process started", extra=fields(control=pid))

    def start_within(self, seconds: float) -> None:
        """Start it after a while, if nobody has done so before."""
        self._start_later(seconds)

    def say(self, message: Message, files: tuple[int, ...] = ()) -> None:
        """Tell it something, if it is there."""
        if self._link is not None and self._link.channel.unsent < MOST_UNSENT:
            self._link.send(message, files)

    def tell(self, kind: str, **what: Any) -> None:
        """An event for its history."""
        self.say({"type": "event", "event": {"kind": kind, **what}})

    def show(self) -> None:
        """Another configuration is in service."""
        active = self._node.active
        if active is not None:
            extra = {"admin": active.admin_identity, "keyring": active.keyring}
            given = {name: each for name, each in extra.items() if each is not None}
            message = {
                "type": "snapshot",
                "version": active.version,
                "outlines": len(active.for_control),
                "extra": list(given),
            }
            self.say(message, (*active.for_control, *given.values()))

    def restart(self) -> None:
        """End it; its successor has what is new. Its sockets stay open meanwhile, so callers only wait."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it: its channel closes, and after a while it is killed; at once, if it has not begun to answer."""
        if self._timer is not None:
            self._timer.cancel()
        if self.pid is None or self._link is None:
            return
        pid, self.pid = self.pid, None
        self._link.close()
        self._link = None
        self.on_lost()
        patience_s = self._node.settings.end_timeout_s if self._is_ready else 0.0
        timer = self._node.reactor.after(patience_s, lambda: kill(pid))
        self._ending.add(pid)
        self._node.reaper.expect(pid, lambda _: self._stopped(pid, timer))

    def held(self) -> HeldChild | None:
        """What a new program is told of it."""
        if self.pid is None or self._link is None or not self._link.is_open:
            return None
        return HeldChild("control", self.pid, 0, self._link.channel.fileno(), 0, True, self.started_at)

    def _stopped(self, pid: int, timer: Timer) -> None:
        timer.cancel()
        self._ending.discard(pid)
        self.on_gone()

    def _ended(self, pid: int, status: int) -> None:
        if self._link is not None:
            self._link.read_rest()
            self._link.close()
        self.pid = self._link = None
        self.on_lost()
        _logger.error("control process died", extra=fields(control=pid, **describe_end(status)))
        self._start_later(self.restarts.died(self._node.reactor.now() - self.started_at))

    def _start_later(self, delay_s: float) -> None:
        self._timer = self._node.reactor.after(delay_s, self.start)

    def _received(self, message: Message, files: list[int]) -> None:
        try:
            self._take(message, files)
        finally:
            close_files(*files)

    def _take(self, message: Message, files: list[int]) -> None:
        if message["type"] == "request":
            self._requested(message, files)
        elif message["type"] == "decided":
            self.on_decided(message)
        elif message["type"] == "health":
            self._health_changed(message)
        elif message["type"] == "ready":
            self._is_ready = True
