"""Smooth weighted round robin: shares by weight, spread as evenly as can be.

Owns:      the endless order in which targets get turns.
Elsewhere: who takes work at all (balancing/candidate.py).
Pure:      same candidates, same random source, same order.

The order is nginx's (weights 5, 1, 1 give a a b a c a a), worked out once as a cycle, so that a choice
is one step of an iterator. Its length is the sum of the weights over their common divisor, and each step
looks at every target; where that would stall a worker, turns come from a queue by deadline instead
(as in Envoy): the same shares, almost as smooth, in O(log n) and without a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import cycle
from math import gcd
from typing import Generic

from clb.balancing.candidate import Candidate, Payload, takers_of_work, without

_MAX_CYCLE_WORK = 50_000
"""Steps times targets of a cycle worked out at once: about 3 ms, in a loop that serves others meanwhile."""
_PHASES = 1 << 20


class WeightedRoundRobin(Generic[Payload]):
    """Each worker starts elsewhere in the order, or all would send their first requests to one target."""

    __slots__ = ("_candidates", "_random_below", "_takers", "_turns", "all_unavailable")

    watcher = None

    def __init__(self, candidates: Iterable[Candidate[Payload]], random_below: Callable[[int], int]) -> None:
        self._random_below = random_below
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self._candidates = tuple(candidates)
        self.changed()

    def changed(self) -> None:
        self._takers, self.all_unavailable = takers_of_work(self._candidates)
        self._turns = endless_turns(self._takers, self._random_below)

    def choose(self, key: bytes, tried: Sequence[Candidate[Payload]] = ()) -> Candidate[Payload] | None:
        if not tried:
            return next(self._turns, None)
        left = without(self._takers, tried)
        # Everyone who is left has a turn in the cycle, so the search ends.
        return next(turn for turn in self._turns if turn in left) if left else None


def endless_turns(
    takers: Sequence[Candidate[Payload]], random_below: Callable[[int], int]
) -> Iterator[Candidate[Payload]]:
    """Turns for ever; none at all if nobody takes work."""
    if len({c.weight for c in takers}) <= 1:
        turns = list(takers)
    else:
        divisor = gcd(*(c.weight for c in takers))
        steps = sum(c.weight for c in takers) // divisor
        if steps * len(takers) > _MAX_CYCLE_WORK:
            return _turns_by_deadline(takers, random_below)
        turns = _smooth_cycle(takers, steps, divisor)
    start = random_below(len(turns)) if turns else 0
    return cycle(turns[start:] + turns[:start])


def _smooth_cycle(takers: Sequence[Candidate[Payload]], steps: int, divisor: int) -> list[Candidate[Payload]]:
    """nginx's algorithm: all gain their weight, the richest has the turn and pays the sum of the weights."""
    weights = [c.weight // divisor for c in takers]
    credit = [0] * len(takers)
    turns = []
    for _ in range(steps):
        credit = [have + gain for have, gain in zip(credit, weights, strict=True)]
        richest = credit.index(max(credit))
        credit[richest] -= steps
        turns.append(takers[richest])
    return turns


def _turns_by_deadline(
    takers: Sequence[Candidate[Payload]], random_below: Callable[[int], int]
) -> Iterator[Candidate[Payload]]:
    """Target i is due every 1/weight; the random first due times keep workers out of step."""
    # The position decides between equal deadlines, so that candidates are never compared.
    queue = [
        ((1 + random_below(_PHASES)) / _PHASES / candidate.weight, position, candidate)
        for position, candidate in enumerate(takers)
    ]
    heapify(queue)
    while True:
        due, position, candidate = queue[0]
        heapreplace(queue, (due + 1 / candidate.weight, position, candidate))
        yield candidate
