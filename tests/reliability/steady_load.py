"""Steady clients (steady_clients.py) as a process, and what can be asked of their record."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("steady_clients.py")
END_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True)
class Answered:
    """One good answer."""

    group: str
    client: str
    began: float
    took: float
    origin: str


@dataclass(frozen=True)
class Failure:
    """One request, or connection, that came to nothing."""

    at: float
    began: float
    group: str
    client: str
    kind: str
    detail: str
    port: int
    """The client's; 0 if it did not come to a connection."""
    request: int
    """Which one of its connection."""


@dataclass(frozen=True)
class Handshake:
    """One TLS handshake that was finished."""

    began: float
    version: str
    offered: bool
    resumed: bool


class Report:
    """The record at the end."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.answers = [Answered(*each) for each in record["answers"]]
        self.failures = [Failure(**each) for each in record["failures"]]
        self.handshakes = [Handshake(*each) for each in record["handshakes"]]
        self.orderly_ends: int = record["orderly_ends"]

    def failures_by_kind(self, failures: Iterable[Failure] | None = None) -> dict[str, int]:
        """How often each kind of failure came."""
        return dict(Counter(each.kind for each in (self.failures if failures is None else failures)))

    def of(self, group: str) -> tuple[list[Answered], list[Failure]]:
        """What one group got."""
        return (
            [each for each in self.answers if each.group == group],
            [each for each in self.failures if each.group == group],
        )

    def by_origin(self, since: float = 0.0) -> dict[str, int]:
        """How many answers each real server gave."""
        return dict(Counter(each.origin for each in self.answers if each.began >= since and each.origin))

    def describe(self) -> str:
        """In one line."""
        kinds = Counter(each.client for each in self.answers)
        return f"{len(self.answers)} answers {dict(kinds)}, failures {self.failures_by_kind() or 0}"


def percentile_ms(answers: Iterable[Answered], share: float) -> float:
    """Latency of which `share` of the answers stay below."""
    took = sorted(each.took for each in answers)
    assert took, "no answers"
    return 1000 * took[min(len(took) - 1, int(len(took) * share))]


class SteadyLoad:
    """The process; `report` is there after the end."""

    report: Report

    def __init__(
        self, authority: Path, groups: Sequence[dict[str, Any]], *, timeout_s: float = 8.0, prefix: Sequence[str] = ()
    ) -> None:
        orders = {"authority": str(authority), "timeout_s": timeout_s, "groups": list(groups)}
        self._command = [*prefix, sys.executable, str(PROGRAM), json.dumps(orders)]

    def __enter__(self) -> SteadyLoad:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reply()
        return self

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the clients have ended"
        return json.loads(line)

    def look(self) -> dict[str, Any]:
        """Time and counts so far: at, answers, failures."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        counts: dict[str, Any] = self._reply()
        return counts

    def go_on_for(self, answers: int) -> None:
        """Wait until so many more answers, or failures, have come."""
        before = self.look()
        give_up_at = time.monotonic() + END_S
        while True:
            now = self.look()
            if now["answers"] + now["failures"] >= before["answers"] + before["failures"] + answers:
                return
            assert time.monotonic() < give_up_at, "the clients get no answers"
            time.sleep(POLL_S)

    def end(self) -> Report:
        """Let all clients finish, and read the record."""
        output, _ = self._process.communicate(timeout=END_S)
        self.report = Report(json.loads(output))
        return self.report

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            try:
                self.end()
            except (subprocess.TimeoutExpired, ValueError):
                self._process.kill()
                self._process.wait(END_S)
                raise
