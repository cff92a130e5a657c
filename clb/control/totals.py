"""What has been counted since the counters began, as management shows it.

Owns:      the numbers by listener, rule and target.
Elsewhere: adding them up over the workers' files (service/counter_totals.py); showing them (status.py, observe/).
Pure:      plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from clb.metering.counters import Traffic


@dataclass(frozen=True, slots=True)
class Latency:
    """How long answers took to begin, in sum: the mean over any time is the quotient of two differences."""

    count: int = 0
    sum_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ListenerTotals:
    """One listener, over all workers and restarts."""

    connections: int = 0
    handshakes_full: int = 0
    handshakes_resumed: int = 0
    handshakes_failed: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """By class of status: `2xx`."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    traffic: Traffic = field(default_factory=Traffic)
    defects: int = 0
    """Connections whose bytes did not add up at their end."""
    unpaid: Mapping[str, int] = field(default_factory=dict)
    """Bytes from clients that are in another class as well: PROXY headers, plain HTTP to a TLS port, handshakes that
    were never finished."""


@dataclass(frozen=True, slots=True)
class RuleTotals:
    """One rule."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """By class of status."""
    billed_in: int = 0
    billed_out: int = 0
    unsent_out: int = 0
    """Of answers, written and never acknowledged; in `billed_out` no more."""


@dataclass(frozen=True, slots=True)
class TargetTotals:
    """One target of a rule."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """By class of status; `none` for those that ended without one."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """By reason; one request may fail here and be answered elsewhere."""
    retries: int = 0
    connections: int = 0
    """That were made."""
    latency: Latency = Latency()


class Totals(Protocol):
    """Everything at one moment, by the keys of metering/cells.py; None: nothing was counted under this key."""

    def listener(self, key: str) -> ListenerTotals | None: ...

    def rule(self, key: str) -> RuleTotals | None: ...

    def target(self, key: str) -> TargetTotals | None: ...


class NothingCounted:
    """Before there is a counter file."""

    def listener(self, key: str) -> ListenerTotals | None:
        return None

    def rule(self, key: str) -> RuleTotals | None:
        return None

    def target(self, key: str) -> TargetTotals | None:
        return None
