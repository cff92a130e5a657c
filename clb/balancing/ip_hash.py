"""Keep a client at its target by hashing its address, and move as few as possible when targets change.

Owns:      the map from client addresses to targets.
Elsewhere: which address is the client's (proxy/); cookies, for clients behind one address (stickiness.py).
Pure:      same candidates, same key, same answer, in every worker, on every node, after every restart.

Addresses fall into 65,536 slots, and each slot belongs to the winner of a weighted rendezvous: every target
draws a number from a hash of (slot, identity), stretched by its weight, and the lowest wins. A draw
depends on nothing but its own target, so one that leaves, dies or goes to weight 0 gives up its own slots and
no other moves; when it comes back it wins the same ones again. A slot is decided when it is first asked for:
a choice is one dictionary look-up, memory is bounded by the slots, and no change of targets stalls a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log
from typing import Generic
from zlib import crc32

from clb.balancing.candidate import Candidate, Payload, takers_of_work, without

_LAST_SLOT = 0xFFFF
"""A share p is met within about sqrt((1 - p) / (65,536 p)): 0.6 % for one of three targets, 4 % of 100."""

_64_BITS = (1 << 64) - 1


class IpHash(Generic[Payload]):
    """Consistent by weighted rendezvous."""

    __slots__ = ("_candidates", "_seeds", "_slots", "_takers", "all_unavailable")

    watcher = None

    def __init__(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self._candidates = tuple(candidates)
        self._seeds = {c: _seed(c.identity) for c in self._candidates}
        self.changed()

    def changed(self) -> None:
        self._takers, self.all_unavailable = takers_of_work(self._candidates)
        self._slots: dict[int, Candidate[Payload] | None] = {}

    def choose(self, key: bytes, tried: Sequence[Candidate[Payload]] = ()) -> Candidate[Payload] | None:
        slot = crc32(key) & _LAST_SLOT
        if tried:
            return self._winner(slot, without(self._takers, tried))
        found = self._slots.get(slot)
        if found is None:
            found = self._slots[slot] = self._winner(slot, self._takers)
        return found

    def _winner(self, slot: int, candidates: Sequence[Candidate[Payload]]) -> Candidate[Payload] | None:
        seeds = self._seeds
        return min(candidates, key=lambda c: _draw(seeds[c], slot) / c.weight, default=None)


def _seed(identity: str) -> int:
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "big")


def _draw(seed: int, slot: int) -> float:
    """An exponentially distributed number: then dividing by weights makes the chances proportional to them.

    The mixing is that of splitmix64. A CRC would not do here: two targets' draws would differ by a constant.
    """
    mixed = (seed + slot * 0x9E3779B97F4A7C15) & _64_BITS
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    mixed ^= mixed >> 31
    # 53 bits fill a float exactly; one half keeps the logarithm from 0.
    return -log(((mixed >> 11) + 0.5) / (1 << 53))
