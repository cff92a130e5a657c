"""The one interface of all strategies, and their names in the configuration.

Owns:      what a scheduler promises; choosing the class for the `scheduler` of a rule.
Elsewhere: the strategies (wrr.py, least_conn.py, p2c_ewma.py, ip_hash.py, maglev.py); cookies (stickiness.py).
Pure:      randomness and time are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from clb.balancing.candidate import Candidate, Payload
from clb.balancing.ip_hash import IpHash
from clb.balancing.least_conn import LeastConnections
from clb.balancing.maglev import Maglev
from clb.balancing.p2c_ewma import PowerOfTwo
from clb.balancing.watcher import Watcher
from clb.balancing.wrr import WeightedRoundRobin

T = TypeVar("T")


class Scheduler(Protocol[T]):
    """Offers one exchange one target after another.

    Never offered: weight 0; what the exchange has tried; what is unavailable, unless all are.
    """

    all_unavailable: bool
    """Every candidate with a weight is unavailable, and all of them get traffic."""

    @property
    def watcher(self) -> Watcher[T] | None:
        """Who is to be told of the rule's exchanges; None if nobody learns from them."""

    def choose(self, key: bytes, tried: Sequence[Candidate[T]] = ()) -> Candidate[T] | None:
        """The next target for a client; `key` is its address, or what `hash_on` says. None: there is none (left)."""

    def update(self, candidates: Iterable[Candidate[T]]) -> None:
        """Take another set of candidates; those that stay are the same objects."""

    def changed(self) -> None:
        """A weight or an availability has changed."""


def create_scheduler(
    name: str,
    candidates: Iterable[Candidate[Payload]],
    random_below: Callable[[int], int],
    clock: Callable[[], float],
) -> Scheduler[Payload]:
    """The strategy of that name; `random_below(n)` gives a number from 0 to n - 1, `clock` seconds."""
    if name == "wrr":
        return WeightedRoundRobin(candidates, random_below)
    if name == "least_conn":
        return LeastConnections(candidates, random_below)
    if name == "p2c_ewma":
        return PowerOfTwo(candidates, random_below, clock)
    if name == "ip_hash":
        return IpHash(candidates)
    if name == "maglev":
        return Maglev(candidates)
    raise ValueError(f"scheduler {name!r}: one of wrr, least_conn, p2c_ewma, ip_hash, maglev")
