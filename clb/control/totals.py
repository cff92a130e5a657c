"""What has been counted since the counters began, as management shows it.

Owns:      the numbers by listener, rule and target, and the form of a histogram.
Elsewhere: adding them up over the workers' files (service/counter_totals.py); showing them (status.py, observe/).
Pure:      plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from clb.metering.counters import Traffic


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound in seconds; one more stands for what is above the last."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum_s: float

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The bound under which this share of the observations lies, interpolated; None without any.

        Above the last bound nothing is known, so the last bound is the answer.
        """
        wanted = share * self.count
        if not wanted:
            return None
        below, lower = 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= wanted:
                return lower + (bound - lower) * (wanted - below) / count
            below, lower = below + count, bound
        return lower


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


@dataclass(frozen=True, slots=True)
class RuleTotals:
    """One rule."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """By class of status."""
    billed_in: int = 0
    billed_out: int = 0
    retries: int = 0
    latency: Histogram | None = None


@dataclass(frozen=True, slots=True)
class TargetTotals:
    """One target of a rule."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """By class of status; `failed` for those without an answer."""
    ejections: int = 0
    latency: Histogram | None = None


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
