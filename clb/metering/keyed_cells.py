"""Numbers that the processes of a node share for things nobody can list beforehand: sources, keys of rate limits.

Owns:      the memory and its layout, fingerprints of keys, and which columns belong to processes that are alive.
Elsewhere: what is known beforehand and has a row of its own (cells.py); the uses (shared_rates.py, shared_counts.py).
Pure:      memory in, numbers out; made by the supervisor before it forks, so that every process sees the same pages.

As in cells.py no number is written by two: each process has a column, a hash table of its own, and a key's value is
what the columns say of it together. A place in the table is found by a fingerprint: a hash of 63 bits under a secret
of this table, so that nobody outside can make keys collide. A set of eight places holds what falls together.
"""

from __future__ import annotations

import mmap
import secrets
from hashlib import blake2b
from struct import Struct

WAYS = 8
"""Places of a set."""
SETS = 4096
"""32,768 keys at once in each process, 1.5 MiB of its memory when all were used."""
STALE_MS = 10_000
"""A column that nobody has signed for so long belongs to nobody."""

_HEADER = 8
_RATE_SET, _COUNT_SET = WAYS * 4, WAYS * 2
_FINGERPRINT = (1 << 63) - 2
"""All bits that a fingerprint may have; the lowest says that the place is never given to another key."""

read_set = Struct(f"{WAYS}q").unpack_from


class KeyedCells:
    """The table. Made before the fork; every process then claims its own column."""

    def __init__(self, columns: int, sets: int = SETS) -> None:
        self.sets = sets
        self.rates_at = _HEADER
        self.counts_at = _HEADER + sets * _RATE_SET
        self.width = self.counts_at + sets * _COUNT_SET
        self.count = columns
        # Anonymous and shared: pages that nobody has touched take no memory.
        self.memory = mmap.mmap(-1, columns * self.width * 8)
        self.numbers = memoryview(self.memory).cast("q")
        self._secret = secrets.token_bytes(16)

    def fingerprint(self, *parts: bytes, is_lasting: bool = False) -> int:
        """Return what a key is known by; one that is `is_lasting` never makes room for another."""
        digest = blake2b(digest_size=8, key=self._secret)
        for part in parts:
            digest.update(b"%d:%b" % (len(part), part))
        return (int.from_bytes(digest.digest(), "big") & _FINGERPRINT or 2) | is_lasting

    def forget(self, column: int) -> None:
        """Its process is gone: what it counted is over, and it does not stand beside the living any more.

        What it let through was let through, so its rates stay for whoever has the column next.
        """
        base = column * self.width
        if self.numbers[base]:
            start, size = base + self.counts_at, self.sets * _COUNT_SET
            self.numbers[start : start + size] = memoryview(bytes(size * 8)).cast("q")
            self.numbers[base] = 0


class KeyedColumn:
    """One process's part of the table, and what it sees of the others."""

    def __init__(self, cells: KeyedCells, column: int, now_ms: int) -> None:
        self.cells = cells
        self.base = column * cells.width
        self.others: tuple[int, ...] = ()
        """Where the columns of the other living processes begin."""
        cells.forget(column)
        self.refresh(now_ms)

    def refresh(self, now_ms: int) -> None:
        """Sign for one's own column and see who else does; called by the sweep."""
        numbers, width = self.cells.numbers, self.cells.width
        numbers[self.base] = now_ms
        bases = range(0, self.cells.count * width, width)
        self.others = tuple(
            base for base in bases if base != self.base and numbers[base] and now_ms - numbers[base] <= STALE_MS
        )
