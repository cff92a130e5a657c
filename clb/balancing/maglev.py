"""Consistent hashing by a table, after Eisenbud et al., "Maglev" (NSDI 2016), section 3.4.

Owns:      the table, and where a key goes whose target takes no work.
Elsewhere: what the key is (proxy/hash_key.py).
Pure:      same targets, same weights, same key, same answer, in every worker, on every node, after every restart.

Every target has a preference, a permutation of all places of the table made from a hash of its identity, and takes
the first free place of it whenever it has a turn; turns follow the weights. So the table is even, and when a target is
taken out of the rule, nearly all places that were not its own stay as they were.

A target that is unavailable keeps its places; keys that find it go on to others along a path of their own. So nobody
else's keys move while it is down, they come back when it does, and no change of health builds a table.

A table costs some milliseconds to build. The first is built when the first key comes; later ones a slice at a time
with each choice, while the old one answers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from heapq import heapify, heapreplace
from typing import Generic
from zlib import crc32

from clb.balancing.candidate import Candidate, Payload, takers_of_work

PLACES = 16381
"""A prime. More places are more even and move fewer keys that need not move (1.4 % of all with 100 targets, where
8,191 move 2 %), and take longer to fill: 16,381 about 7 ms with 3 targets and 15 ms with 300. It is the same
for any number of targets: a table of another size is another table."""
_SLICE, _SLICE_RATIO = 512, 0.7
"""Places filled with each choice while a table is being built, and how many of the free ones may be left: the fewer are
free, the longer it takes to find one. A slice is about half a millisecond."""
_STEPS = 64
"""How far a key's path is followed before one of those that take work is picked directly."""

_Table = tuple[tuple[Candidate[Payload], ...], Sequence[int]]
"""Candidates, and for each place whose it is."""


class Maglev(Generic[Payload]):
    """The candidates in the table are those with a weight, in the order of their identities."""

    __slots__ = ("_build", "_candidates", "_in_table", "_owners", "_takers", "_weights", "all_unavailable")

    watcher = None

    def __init__(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self._weights: tuple[tuple[Candidate[Payload], int], ...] = ()
        self._in_table: tuple[Candidate[Payload], ...] = ()
        self._owners: Sequence[int] | None = None
        self._build: Iterator[_Table[Payload] | None] | None = None
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate[Payload]]) -> None:
        self._candidates = sorted(candidates, key=lambda c: c.identity)
        self.changed()

    def changed(self) -> None:
        takers, self.all_unavailable = takers_of_work(self._candidates)
        self._takers = frozenset(takers)
        weights = tuple((c, c.weight) for c in self._candidates if c.weight > 0)
        if weights != self._weights:
            self._weights = weights
            self._build = _build(weights)

    def choose(self, key: bytes, tried: Sequence[Candidate[Payload]] = ()) -> Candidate[Payload] | None:
        if self._build is not None:
            self._go_on_building(self._build)
        owners, in_table = self._owners, self._in_table
        if not in_table or owners is None:
            return None
        place = crc32(key) % PLACES
        found = in_table[owners[place]]
        if found in self._takers and found not in tried:
            return found
        left = self._takers.difference(tried)
        if not left:
            return None
        second = crc32(key, 1)
        step = 1 + second % (PLACES - 1)
        for _ in range(_STEPS):
            place = (place + step) % PLACES
            found = in_table[owners[place]]
            if found in left:
                return found
        return sorted(left, key=lambda c: c.identity)[second % len(left)]

    def _go_on_building(self, build: Iterator[_Table[Payload] | None]) -> None:
        table = next(build)
        while table is None and self._owners is None:
            table = next(build)
        if table is not None:
            self._in_table, self._owners = table
            self._build = None


def _build(weights: Sequence[tuple[Candidate[Payload], int]]) -> Iterator[_Table[Payload] | None]:
    """Yield nothing after every slice, and at the end the table."""
    owners = array("H", bytes(2 * PLACES))
    places, skips = [], []
    for candidate, _ in weights:
        digest = blake2b(candidate.identity.encode(), digest_size=16).digest()
        places.append(int.from_bytes(digest[:8], "big") % PLACES)
        skips.append(1 + int.from_bytes(digest[8:], "big") % (PLACES - 1))
    # Who is due next; the position decides between equals. A due time depends on nothing but its own weight, so
    # the others' turns keep their order when one leaves.
    turns = [(1 / weight, position) for position, (_, weight) in enumerate(weights)]
    heapify(turns)
    is_free = bytearray(b"\1") * PLACES
    stop = PLACES - _SLICE
    for free in range(PLACES if turns else 0, 0, -1):
        if free <= stop:
            yield None
            stop = max(free - _SLICE, int(free * _SLICE_RATIO))
        due, position = turns[0]
        heapreplace(turns, (due + 1 / weights[position][1], position))
        place, skip = places[position], skips[position]
        while not is_free[place]:
            place += skip
            if place >= PLACES:
                place -= PLACES
        is_free[place] = 0
        owners[place] = position
        places[position] = place
    yield tuple(candidate for candidate, _ in weights), owners
