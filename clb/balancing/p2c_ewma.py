"""Power of two choices by latency and load: of two targets, the one where an answer is to be expected sooner.

Owns:      the latency that is expected of a target, and the comparison of two.
Elsewhere: measuring (proxy/exchange.py); turns (wrr.py); the other workers' work under way (shared_load.py).
Pure:      clock and random source are passed in.

The first of the two is whose turn it is by weight, the second is drawn from the others, and the first keeps the
exchange unless the second is better. So equal targets share exactly by weight; one that is a little slower gets a
little less (the chance to lose grows with the difference); one that is expected to take twice as long or longer
loses every comparison. Nobody starves for it: every 64th exchange is given by turn, whatever is expected.

What is expected follows the latencies to the answer's head, as a moving average over time: up at once (a
slow answer is news), down within `_MEMORY_S`. Without news it goes back to what the others take, for the same reason
that a new target begins there: a verdict that is never tested again would be for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp
from random import Random
from typing import Generic

from clb.balancing.candidate import Candidate, Payload, takers_of_work, without
from clb.balancing.watcher import Watcher
from clb.balancing.wrr import endless_turns

EXPLORE_EVERY = 64
"""The floor: 1/64 of a target's fair share. With two targets that leaves the slow one less than 1 % of all requests."""
_MEMORY_S = 10.0
"""Time in which a surprise is forgotten to a third."""
_FADING = 1 / _MEMORY_S
_FIRST_GUESS_S = 0.05
"""Latency of all while none is known."""
_FAILURE_FACTOR = 8
"""A failure counts like an answer that took so many times what is usual; each further one multiplies again."""
_WORST_S = 60.0
_LEAST_S = 1e-6
"""Loop time has no finer steps that mean anything, and latencies are divided by."""
_SEEDS = 1 << 32


class _Record:
    """What is expected of one target."""

    __slots__ = ("at", "latency_s", "per_work")

    def __init__(self) -> None:
        self.latency_s: float | None = None
        self.at = 0.0
        """When `latency_s` held; it has been going back to the usual since."""
        self.per_work = 1.0
        """What one exchange under way weighs: less where the weight says that the target is bigger than the mean."""


class PowerOfTwo(Generic[Payload]):
    """Learns, so it is its own watcher."""

    __slots__ = (
        "_candidates",
        "_clock",
        "_explorations",
        "_random",
        "_random_below",
        "_records",
        "_takers",
        "_turns",
        "_until_exploration",
        "_usual_s",
        "all_unavailable",
        "watcher",
    )

    def __init__(
        self,
        candidates: Iterable[Candidate[Payload]],
        random_below: Callable[[int], int],
        clock: Callable[[], float],
    ) -> None:
        self._random_below = random_below
        # Two draws for each choice: a source that is seeded from the given one is ten times as fast.
        self._random = Random(random_below(_SEEDS)).random  # noqa: S311 - no secret hangs on it
        self._clock = clock
        self._usual_s = _FIRST_GUESS_S
        self._until_exploration = EXPLORE_EVERY
        self._records: dict[Candidate[Payload], _Record] = {}
        self.watcher: Watcher[Payload] = self
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self._candidates = tuple(candidates)
        old = self._records
        self._records = {c: old.get(c) or self._new_record(c) for c in self._candidates}
        self._find_usual()
        self.changed()

    def changed(self) -> None:
        self._takers, self.all_unavailable = takers_of_work(self._candidates)
        self._turns = endless_turns(self._takers, self._random_below)
        self._explorations = endless_turns(self._takers, self._random_below)
        for candidate in self._takers:
            self._records[candidate].per_work = sum(c.weight for c in self._takers) / (
                candidate.weight * len(self._takers)
            )

    def choose(self, key: bytes, tried: Sequence[Candidate[Payload]] = ()) -> Candidate[Payload] | None:
        left: Sequence[Candidate[Payload]] = self._takers if not tried else without(self._takers, tried)
        if len(left) < 2:
            return left[0] if left else None
        self._until_exploration -= 1
        if self._until_exploration <= 0 and not tried:
            self._until_exploration = EXPLORE_EVERY
            self._find_usual()
            return next(self._explorations)
        first = next(self._turns)
        if tried:
            while first not in left:
                first = next(self._turns)
        second = first
        while second is first:
            second = left[int(self._random() * len(left))]
        now = self._clock()
        advantage = self._cost(first, now) / self._cost(second, now) - 1.0
        if advantage <= 0.0 or (advantage < 1.0 and advantage <= self._random()):
            return first
        return second

    # --- what is learned ---

    def began(self, candidate: Candidate[Payload]) -> None:
        if candidate.shared is not None:
            candidate.shared.publish(candidate.in_flight)

    def answered(self, candidate: Candidate[Payload], latency_s: float, now: float) -> None:
        record = self._records.get(candidate)
        if record is None:
            return  # It left the rule, and this was running still.
        if latency_s < _LEAST_S:
            latency_s = _LEAST_S
        expected = self._expected(record, now)
        if record.latency_s is not None and latency_s < expected:
            latency_s += (expected - latency_s) * _fading(record.at, now)
        self._learn(candidate, record, latency_s, now)

    def ended(self, candidate: Candidate[Payload]) -> None:
        if candidate.shared is not None:
            candidate.shared.publish(candidate.in_flight)

    def failed(self, candidate: Candidate[Payload], now: float) -> None:
        record = self._records.get(candidate)
        if record is not None:
            worse = _FAILURE_FACTOR * max(self._usual_s, self._expected(record, now))
            self._learn(candidate, record, min(worse, _WORST_S), now)

    @staticmethod
    def _learn(candidate: Candidate[Payload], record: _Record, latency_s: float, now: float) -> None:
        record.latency_s = latency_s
        record.at = now
        if candidate.shared is not None:
            candidate.shared.publish_latency(latency_s)

    # --- what is expected ---

    def _cost(self, candidate: Candidate[Payload], now: float) -> float:
        record = self._records[candidate]
        expected_s = usual_s = self._usual_s
        if record.latency_s is not None:
            # As `_expected` says it; two calls less for each of the two.
            age_s = now - record.at
            expected_s += (record.latency_s - usual_s) * (exp(age_s * -_FADING) if age_s > 0 else 1.0)
        work = candidate.in_flight
        if candidate.shared is not None:
            work += candidate.shared.elsewhere()
        return expected_s * (work * record.per_work + 1.0)

    def _expected(self, record: _Record, now: float) -> float:
        latency_s, usual_s = record.latency_s, self._usual_s
        if latency_s is None:
            return usual_s
        return usual_s + (latency_s - usual_s) * _fading(record.at, now)

    def _find_usual(self) -> None:
        """The lower median: a few slow targets do not make slowness usual."""
        known = sorted(r.latency_s for r in self._records.values() if r.latency_s is not None)
        if known:
            self._usual_s = known[(len(known) - 1) // 2]

    def _new_record(self, candidate: Candidate[Payload]) -> _Record:
        """What the other workers know is better than a guess: this one may be new while the target is not."""
        record = _Record()
        if candidate.shared is not None:
            record.latency_s = candidate.shared.latency_elsewhere_s()
            record.at = self._clock()
        return record


def _fading(since: float, now: float) -> float:
    """How much of what was then still counts; all of it if the clock of whoever told was ahead."""
    return exp((since - now) * _FADING) if now > since else 1.0
