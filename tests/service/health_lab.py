"""A prober whose checks are answered by the test, on a loop of its own, with a clock that may be moved."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import uvloop
from control_lab import outline

from clb.control.events import Event, EventHistory
from clb.metering.cells import CONTROL, FIELDS, Cells, Rows, TargetField, TargetState, target_key
from clb.service.health_file import HealthFile
from clb.service.probe import Answer, Question
from clb.service.prober import Prober

RULE = "lb/http shop.example.com/"
WAIT_S = 10.0
FAST = {"interval": "100ms", "timeout": "50ms", "healthy": 2, "unhealthy": 2}


def site(*rules: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of one listener."""
    listener = {"name": "http", "port": 80, "protocol": "http", "rules": list(rules)}
    return {"node": {"name": "node-1"}, "load_balancers": [{"name": "lb", "listeners": [listener]}]}


def rule(*ports: int, domain: str = "shop.example.com", weights: Mapping[int, int] | None = None, **keys: Any) -> Any:
    """A rule with targets on this host."""
    targets = [{"address": "127.0.0.1", "port": port, "weight": (weights or {}).get(port, 10)} for port in ports]
    return {
        "domain": domain,
        "default": domain == "shop.example.com",
        "targets": targets,
        **keys,
        "health_check": {**FAST, **keys.get("health_check", {})},
    }


class Answers:
    """Plays the real servers: what is not told otherwise is good."""

    def __init__(self) -> None:
        self.by_port: dict[int, Answer | Callable[[], Coroutine[Any, Any, Answer]] | Exception] = {}
        self.asked: list[Question] = []
        self.hosts: set[str] = set()

    def bad(self, *ports: int, detail: str = "connection failed: connection refused") -> None:
        for port in ports:
            self.by_port[port] = Answer(False, detail, 0.001)

    def good(self, *ports: int) -> None:
        for port in ports:
            self.by_port.pop(port, None)

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        answer = self.by_port.get(question.port, Answer(True, "answered 200", 0.001))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answer) else await answer()

    def keep_only(self, hosts: set[str]) -> None:
        self.hosts = hosts


class Node:
    """The control process's part of a node that has to do with health."""

    def __init__(self, *rules: Mapping[str, Any], cells: Cells | None = None, rows: Rows | None = None) -> None:
        self.answers = Answers()
        self.cells = cells or Cells(1000, 2)
        self.rows = rows or Rows(1000)
        self.shift_s = 0.0
        """How much later it is than it is."""
        self.events = EventHistory(self.wall)
        self.notices = 0
        self.ejections = Counter[str]()
        self.file: HealthFile | None = None
        self._rules = rules

    def wall(self) -> float:
        return time.time() + self.shift_s

    def steady(self) -> float:
        return time.monotonic() + self.shift_s

    def remember_in(self, directory: Path) -> Node:
        self.file = HealthFile(directory, self.wall)
        return self

    def play(self, script: Callable[[Node], Coroutine[Any, Any, None]]) -> Node:
        """Run a prober, and the script beside it."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._play(script))
        return self

    async def _play(self, script: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
        self.prober = Prober(
            self.cells,
            self.answers,
            self.events,
            self._notice,
            self.wall,
            file=self.file,
            ejections=self.ejections,
            steady=self.steady,
        )
        self.configure(*self._rules)
        self.prober.start()
        try:
            await script(self)
        finally:
            await self.prober.stop()

    def _notice(self, _: list[str] | None) -> None:
        self.notices += 1

    def configure(self, *rules: Mapping[str, Any]) -> None:
        """Take another configuration into service."""
        self.outline = outline(site(*rules), 1, self.rows)
        self.prober.update(self.outline)

    def number(self, port: int, field: TargetField, key: str = RULE) -> int:
        row = self.outline.rows[target_key(key, f"127.0.0.1:{port}")]
        return self.cells.columns[CONTROL][row * FIELDS + field]

    def state(self, port: int, key: str = RULE) -> str:
        """As workers read it."""
        return TargetState(self.number(port, TargetField.STATE, key)).name.lower()

    def report(self, port: int, key: str = RULE) -> Any:
        return self.prober.report(target_key(key, f"127.0.0.1:{port}"))

    async def until(self, condition: Callable[[], bool]) -> float:
        """Wait for something; return how long that took."""
        began_at = time.monotonic()
        while not condition():
            assert time.monotonic() < began_at + WAIT_S, "it never came to that"
            await asyncio.sleep(0.002)
        return time.monotonic() - began_at

    async def until_state(self, port: int, state: str, key: str = RULE) -> float:
        return await self.until(lambda: self.state(port, key) == state)

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events.after(0, 1000) if event.kind == kind]

    def suspect(self, port: int, **keys: Any) -> None:
        """As a worker's word comes."""
        event = {
            "rule": RULE,
            "target": f"127.0.0.1:{port}",
            "failure": "connect_failures",
            "count": 5,
            "detail": "reset",
        }
        self.prober.suspected({**event, **keys})
