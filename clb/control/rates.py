"""How fast the totals grow: a sample each second, a mean over the last ten.

Owns:      the samples, and that a counter which began anew gives no negative rate.
Elsewhere: taking the samples in time (service/control_process.py); the totals (totals.py).
Pure:      the clock is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clb.control.models import Rates
from clb.control.totals import ListenerTotals

WINDOW = 10
"""Samples between the oldest and the newest."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What of a listener grows."""

    connections: int
    handshakes: int
    requests: int
    in_bytes: int
    out_bytes: int

    @classmethod
    def of(cls, totals: ListenerTotals) -> Sample:
        """Take the part of the totals that rates are shown of."""
        handshakes = totals.handshakes_full + totals.handshakes_resumed + sum(totals.handshakes_failed.values())
        traffic = totals.traffic
        requests = sum(totals.requests.values())
        return cls(totals.connections, handshakes, requests, traffic.wire_in, traffic.wire_out)


class RateWindow:
    """Rates of all listeners."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, dict[str, Sample]]] = deque(maxlen=WINDOW + 1)

    def take(self, totals: Mapping[str, ListenerTotals]) -> None:
        """Remember how things stand now."""
        self._samples.append((self._clock(), {key: Sample.of(total) for key, total in totals.items()}))

    def of(self, key: str) -> Rates:
        """Rates of one listener."""
        return self._rates([key])

    def all(self) -> Rates:
        """Rates of all of them together."""
        return self._rates(list(self._samples[-1][1]) if self._samples else [])

    def _rates(self, keys: list[str]) -> Rates:
        if len(self._samples) < 2:
            return Rates()
        (began, old), (ended, new) = self._samples[0], self._samples[-1]
        pairs = [(old[key], new[key]) for key in keys if key in old and key in new]

        def rate(read: Callable[[Sample], int]) -> float:
            grown = sum(max(0, read(after) - read(before)) for before, after in pairs)
            return round(grown / max(ended - began, 0.001), 3)

        return Rates(
            connections_per_s=rate(lambda sample: sample.connections),
            handshakes_per_s=rate(lambda sample: sample.handshakes),
            requests_per_s=rate(lambda sample: sample.requests),
            in_bytes_per_s=rate(lambda sample: sample.in_bytes),
            out_bytes_per_s=rate(lambda sample: sample.out_bytes),
        )
