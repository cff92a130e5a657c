"""Weighted least connections: the target with the least work under way for its weight.

Owns:      the comparison of loads, and ties.
Elsewhere: counting `in_flight` (proxy/); the other workers' counts (shared_load.py); turns among ties (wrr.py).
Pure:      same counts, same order, same choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Generic

from clb.balancing.candidate import Candidate, Payload, takers_of_work, without
from clb.balancing.watcher import Watcher
from clb.balancing.wrr import endless_turns


class LeastConnections(Generic[Payload]):
    """Lowest work under way / weight; of several, the one whose turn comes first in weighted round robin."""

    __slots__ = ("_candidates", "_random_below", "_takers", "_turns", "all_unavailable", "watcher")

    def __init__(self, candidates: Iterable[Candidate[Payload]], random_below: Callable[[int], int]) -> None:
        self._random_below = random_below
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self._candidates = tuple(candidates)
        self.changed()

    def changed(self) -> None:
        self._takers, self.all_unavailable = takers_of_work(self._candidates)
        self._turns = endless_turns(self._takers, self._random_below)
        is_shared = any(c.shared is not None for c in self._candidates)
        self.watcher: Watcher[Payload] | None = self if is_shared else None

    def choose(self, key: bytes, tried: Sequence[Candidate[Payload]] = ()) -> Candidate[Payload] | None:
        turn = next(self._turns, None)
        # Nothing is lower than no work at all, so an idle target whose turn it is needs no comparison.
        if turn is None or (
            not turn.in_flight and (turn.shared is None or not turn.shared.elsewhere()) and turn not in tried
        ):
            return turn
        lowest = self._lowest(without(self._takers, tried))
        if len(lowest) < 2 or turn in lowest:
            return turn if turn in lowest else next(iter(lowest), None)
        # Bounded, since a cycle can be long between two small weights. The first of the ties then gets a
        # turn out of order, and its count, now higher, takes it out of the tie.
        turns = islice(self._turns, len(self._takers))
        return next((turn for turn in turns if turn in lowest), lowest[0])

    def began(self, candidate: Candidate[Payload]) -> None:
        if candidate.shared is not None:
            candidate.shared.publish(candidate.in_flight)

    def answered(self, candidate: Candidate[Payload], latency_s: float, now: float) -> None:
        pass  # Nothing that counts here.

    def ended(self, candidate: Candidate[Payload]) -> None:
        if candidate.shared is not None:
            candidate.shared.publish(candidate.in_flight)

    def failed(self, candidate: Candidate[Payload], now: float) -> None:
        pass  # Who fails fast looks idle here; ejection is what keeps work from it.

    @staticmethod
    def _lowest(candidates: Sequence[Candidate[Payload]]) -> list[Candidate[Payload]]:
        """All that share the lowest load.

        Division rounds correctly, so equal ratios are equal floats, and two ratios that differ do so by at
        least 1/10,000 (weights end at 100), which counts below 2**39 cannot blur.
        """
        least = float("inf")
        lowest: list[Candidate[Payload]] = []
        for candidate in candidates:
            shared = candidate.shared
            work = candidate.in_flight if shared is None else candidate.in_flight + shared.elsewhere()
            load = work / candidate.weight
            if load < least:
                least = load
                lowest = [candidate]
            elif load == least:
                lowest.append(candidate)
        return lowest
