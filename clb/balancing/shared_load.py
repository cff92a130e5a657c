"""What all workers of a node have under way at one target.

Owns:      the worker's own numbers in the shared table, and the sums over the other workers' columns.
Elsewhere: the table and what its fields mean (metering/cells.py); who asks (least_conn.py, p2c_ewma.py).
Pure:      memory in, numbers out.

Each number has one writer, so a sum may be a few operations old while it is read: two workers that choose in the same
microsecond do not see each other. That is what a count of work under way is worth between processes anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

_US_PER_S = 1_000_000


class SharedLoad:
    """One target's row, seen from one worker."""

    __slots__ = ("_in_flight", "_latency", "_others", "_own")

    def __init__(self, own: memoryview, others: Sequence[memoryview], in_flight_place: int, latency_place: int) -> None:
        self._own = own
        self._others = tuple(others)
        self._in_flight = in_flight_place
        self._latency = latency_place

    def publish(self, in_flight: int) -> None:
        """Say how much this worker has under way."""
        self._own[self._in_flight] = in_flight

    def publish_latency(self, latency_s: float) -> None:
        """Say what this worker thinks of the target's latency."""
        self._own[self._latency] = int(latency_s * _US_PER_S)

    def elsewhere(self) -> int:
        """How much the other workers have under way."""
        place = self._in_flight
        work: int = 0
        for column in self._others:
            work += column[place]
        return work

    def latency_elsewhere_s(self) -> float | None:
        """The mean of what the other workers think of its latency; None if none of them knows it."""
        known = [latency for column in self._others if (latency := column[self._latency])]
        return sum(known) / len(known) / _US_PER_S if known else None
