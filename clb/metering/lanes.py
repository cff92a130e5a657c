"""What open connections count for themselves, so that a request costs one store and no addition.

Owns:      a lane's words, giving one to the next connection, adding lanes up.
Elsewhere: which listener has which lanes (ledgers.py), the records that they are in (counter_file.py).
Pure:      memory in, numbers out.

A connection has four numbers of its own anyway (`WIRE`), which begin at 0. It stores all of them at each step, in a
lane that it has to itself. What connections before it left in the lane must go on counting, though, and a process may
be killed, or a reader look, between any two stores. (Each store is one of a whole number: `Struct.pack_into` fills
its place with zeros first, and would be seen at it.) So a lane has two halves, each of a sum and of live numbers, and
its version says by its last bit which half is the valid one: the next connection's half is made ready aside (the sum
with the last live numbers in it, live numbers of 0), and becomes valid by one store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clb.metering.counter_fields import FIELDS, LANES_IN_A_RECORD, WIRE, Kind

LANE_WORDS: Final = len(FIELDS[Kind.LANES]) // LANES_IN_A_RECORD
_SUMS: Final = 1
_LIVE: Final = _SUMS + 2 * len(WIRE)


def take_lane(record: memoryview, number: int) -> int:
    """Ready a lane of a record for a connection, whose numbers are 0; return where it stores them."""
    at = number * LANE_WORDS
    version = record[at]
    half, other = version & 1, 1 - (version & 1)
    live = record[at + _LIVE + 4 * half : at + _LIVE + 4 * half + 4]
    if any(live):
        sums = record[at + _SUMS + 4 * half : at + _SUMS + 4 * half + 4]
        for place in range(4):
            record[at + _SUMS + 4 * other + place] = sums[place] + live[place]
            record[at + _LIVE + 4 * other + place] = 0
        record[at] = version + 1
        half = other
    return at + _LIVE + 4 * half


def lane_number(stores_at: int) -> int:
    """Return which lane of its record it is that stores there."""
    return stores_at // LANE_WORDS


def versions(words: Sequence[int]) -> Sequence[int]:
    """Return the versions of a record's lanes: a copy is of one moment if they are the same before and after."""
    return words[::LANE_WORDS]


def lane_sums(words: Sequence[int]) -> list[int]:
    """Add up a record's lanes, in the order of `WIRE`."""
    total = [0, 0, 0, 0]
    for at in range(0, len(words), LANE_WORDS):
        half = words[at] & 1
        for start in (at + _SUMS + 4 * half, at + _LIVE + 4 * half):
            for place in range(4):
                total[place] += words[start + place]
    return total
