"""What `clb top` shows: two looks at the node, and what lies between them.

Owns:      rates of targets and rules from one look to the next, and what fits on the screen.
Elsewhere: looking, the terminal (top.py).
Pure:      answers in, something for rich to draw out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clb.cli.amounts import ago, moment, number, size

_EVENTS = 5
_COLOURS = {"healthy": "green", "unhealthy": "red", "ejected": "red", "checking": "yellow", "provisional": "yellow"}
_LINES_AROUND = 14
"""Lines of the screen that are not rows of targets."""


_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Between:
    """What one target did from one look to the next."""

    requests_per_s: float
    mean_ms: float | None
    """From a request to the head of its answer."""


class View:
    """Remembers the look before, and the last events."""

    def __init__(self) -> None:
        self.last_event = 0
        self._answer: dict[str, Any] | None = None
        self._at = 0.0
        self._before: dict[_Key, dict[str, Any]] = {}
        self._between: dict[_Key, _Between] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        self._trouble = ""

    def take(self, answer: dict[str, Any], events: dict[str, Any], at: float) -> None:
        """Take an answer of `/v1/status` and the events since the last one; `at` is in seconds of any clock."""
        targets = dict(_targets(answer))
        passed = max(at - self._at, 0.001)
        self._between = {
            key: _between(self._before[key], target, passed) for key, target in targets.items() if key in self._before
        }
        self._answer, self._at, self._before, self._trouble = answer, at, targets, ""
        if events["last_event"] < self.last_event:
            self._events.clear()  # The management process began anew, and so did its numbers.
        self._events.extend(events["events"])
        self.last_event = events["last_event"]

    def lost(self, why: str) -> None:
        """Nobody answered this time."""
        self._trouble = why

    def render(self, height: int) -> RenderableType:
        """The screen."""
        if self._answer is None:
            return Text(self._trouble or "no answer yet", style="red")
        parts: list[RenderableType] = list(self._head(self._answer))
        parts.append(self._listeners(self._answer))
        parts.append(self._target_table(self._answer, max(3, height - _LINES_AROUND - len(self._answer["listeners"]))))
        parts += self._event_lines()
        return Group(*parts)

    def _head(self, answer: dict[str, Any]) -> list[Text]:
        node, rates = answer["node"], answer["rates"]
        head = Text(f"{node['name']}  ")
        reasons = "; ".join(node["not_ready_because"])
        head.append(*(("ready", "green") if node["ready"] else (f"NOT READY: {reasons}", "red")))
        head.append(
            f"  {node['workers_ready']}/{node['workers_wanted']} workers  configuration {node['config_version']}  "
            f"{len(answer['draining'])} draining  q leaves"
        )
        lags = [process["loop_lag_ms"] for process in answer["processes"] if process["loop_lag_ms"] is not None]
        line = Text(
            f"{number(rates['requests_per_s'])} req/s  {number(rates['connections_per_s'])} conn/s  "
            f"{number(rates['handshakes_per_s'])} handshakes/s  in {size(rates['in_bytes_per_s'])}/s  "
            f"out {size(rates['out_bytes_per_s'])}/s" + (f"  lag {max(lags):.1f} ms" if lags else "")
        )
        return [head, line, Text(self._trouble, style="red")]

    def _listeners(self, answer: dict[str, Any]) -> Table:
        table = _table("listener", "conns", "in flight", "queued", "req/s", "conn/s", "in/s", "out/s")
        for each in answer["listeners"]:
            rates = each["rates"]
            table.add_row(
                f"{_name(each)} {each['protocol']}:{each['port']}",
                number(each["connections"]),
                number(each["in_flight"]),
                number(each["queued"]),
                number(rates["requests_per_s"]),
                number(rates["connections_per_s"]),
                size(rates["in_bytes_per_s"]),
                size(rates["out_bytes_per_s"]),
            )
        return table

    def _target_table(self, answer: dict[str, Any], most: int) -> Table:
        """The targets in trouble first, then the busiest."""
        table = _table("target", "rule", "state", "weight", "req/s", "in flight", "conns", "ms", "for")
        nothing = _Between(0.0, None)
        targets = sorted(
            _targets(answer),
            key=lambda item: (item[1]["takes_work"], -self._between.get(item[0], nothing).requests_per_s),
        )
        now = datetime.now(UTC)
        for key, target in targets[:most]:
            between = self._between.get(key, nothing)
            latency = between.mean_ms if between.mean_ms is not None else target["latency_ms"]
            table.add_row(
                target["target"],
                key[1],
                Text(target["state"], style=_COLOURS.get(target["state"], "")),
                f"{target['effective_weight']:g}/{target['weight']}",
                number(between.requests_per_s),
                number(target["in_flight"]),
                number(target["connections"]),
                f"{latency:.1f}" if latency is not None else "",
                ago(target["since"], now) if target["since"] is not None else "",
            )
        if (more := len(targets) - most) > 0:
            table.add_row(f"and {more} more", *[""] * 8)
        return table

    def _event_lines(self) -> list[Text]:
        return [Text(_event_line(event), no_wrap=True, overflow="ellipsis") for event in self._events]


def _event_line(event: dict[str, Any]) -> str:
    return f"{moment(event['at']):%H:%M:%S} {event['kind']} {event['subject']}: {event['cause']}"


def _between(before: dict[str, Any], after: dict[str, Any], passed_s: float) -> _Between:
    requests = (after["requests"] or 0) - (before["requests"] or 0)
    answers = (after["answers"] or 0) - (before["answers"] or 0)
    took_s = (after["answers_latency_s"] or 0.0) - (before["answers_latency_s"] or 0.0)
    return _Between(max(0.0, requests / passed_s), took_s / answers * 1000 if answers > 0 else None)


def _targets(answer: dict[str, Any]) -> list[tuple[_Key, dict[str, Any]]]:
    return [
        ((_name(listener), f"{rule['domain']}{rule['url']}", target["target"]), target)
        for listener in answer["listeners"]
        for rule in listener["rules"]
        for target in rule["targets"]
    ]


def _name(listener: dict[str, Any]) -> str:
    return f"{listener['load_balancer']}/{listener['listener']}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for name in others:
        is_text = name in ("rule", "state")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True, overflow="ellipsis")
    return table
