"""What all workers of a node have under way at one target.

Owns:      the worker's own numbers in the shared table, and the sums over the other workers' columns.
Elsewhere: the table and what its fields mean (metering/cells.py); who asks (least_conn.py, p2c_ewma.py).
Pure:      memory in, numbers out.

Each number has one writer, so a sum may be a few operations old while it is read: two workers that choose in the same
microsecond do not see each other. That is what a count of work under way is worth between processes anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_US_PER_S = 1_000_000


class Columns(Protocol):
    """One process's view of the table."""

    @property
    def own(self) -> memoryview:
        """The column that this process writes."""

    @property
    def others(self) -> Sequence[memoryview]:
        """Those of the other workers that are alive."""


class SharedLoad:
    """One target's row, seen from one worker."""

    __slots__ = ("_columns", "_in_flight", "_latency")

    def __init__(self, columns: Columns, in_flight_place: int, latency_place: int) -> None:
        self._columns = columns
        self._in_flight = in_flight_place
        self._latency = latency_place

    def publish(self, in_flight: int) -> None:
        """Say how much this worker has under way."""
        self._columns.own[self._in_flight] = in_flight

    def publish_latency(self, latency_s: float) -> None:
        """Say what this worker thinks of the target's latency."""
        self._columns.own[self._latency] = int(latency_s * _US_PER_S)

    def elsewhere(self) -> int:
        """How much the other workers have under way."""
        place = self._in_flight
        work: int = 0
        for column in self._columns.others:
            work += column[place]
        return work

    def latency_elsewhere_s(self) -> float | None:
        """The mean of what the other workers think of its latency; None if none of them knows it."""
        known = [latency for column in self._columns.others if (latency := column[self._latency])]
        return sum(known) / len(known) / _US_PER_S if known else None
