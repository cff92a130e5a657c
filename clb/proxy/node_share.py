"""What one serving process has of the numbers that all processes of its node share.

Owns:      the process's own column, which other columns count, places by key, rates of the whole node.
Elsewhere: the memory (metering/); what is counted and bounded with it (admission.py, in_flight.py, request_gate.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from clb.config.models import RateCap
from clb.metering.cells import FIELDS, Cells
from clb.metering.keyed_cells import KeyedCells, KeyedColumn
from clb.metering.shared_counts import SharedCounts
from clb.metering.shared_rates import SharedRates

REMEMBERED_KEYS = 8192
"""Fingerprints that a rate keeps at hand; a stranger may send any number of keys."""
_REMEMBERED_KEY_BYTES = 128
_ROWS_ALONE = 4096


class NodeShare:
    """Own column and sums. What a sum says may be as old as the instant: bounds are exceeded by what arrives in it."""

    def __init__(self, cells: Cells, keyed: KeyedCells, column: int, rows: Mapping[str, int], now: float) -> None:
        self.rows = rows
        """Of the configuration in service; replaced with it."""
        self.own = cells.columns[column]
        self._cells = cells
        self._keyed = KeyedColumn(keyed, column, _milliseconds(now))
        self.rates = SharedRates(self._keyed)
        self.counts = SharedCounts(self._keyed)
        self.others: tuple[memoryview, ...] = ()
        """Columns of the other serving processes that are alive."""
        self.refresh(now)

    @classmethod
    def alone(cls) -> NodeShare:
        """For a process that is all there is of its node."""
        return cls(Cells(_ROWS_ALONE, 2), KeyedCells(2), 1, _RowsAsAsked(), 0.0)

    def fingerprint(self, *parts: bytes, is_lasting: bool = False) -> int:
        """Return what a key is known by in the shared tables."""
        return self._keyed.cells.fingerprint(*parts, is_lasting=is_lasting)

    def refresh(self, now: float) -> None:
        """Say that one is alive, and see who else is; called by the sweep."""
        self._keyed.refresh(_milliseconds(now))
        width = self._keyed.cells.width
        self.others = tuple(self._cells.columns[base // width] for base in self._keyed.others)

    def place(self, key: str, field: int) -> int:
        """Return where a thing's number stands in each column."""
        return self.rows[key] * FIELDS + field

    def total(self, place: int) -> int:
        """Add a number up over the living processes."""
        total: int = self.own[place]
        for column in self.others:
            total += column[place]
        return total


class NodeRate:
    """One rate of the whole node: a bucket for all, or one for each key."""

    __slots__ = ("_cost", "_depth", "_fingerprints", "_name", "_share")

    def __init__(self, share: NodeShare, name: str, cap: RateCap) -> None:
        self._share = share
        self._cost = math.ceil(1e9 / cap.rate)
        self._depth = self._cost * cap.depth
        # A bucket of another size is another bucket: a debt made under the old one must not outlive it.
        self._name = f"{name} {self._cost} {self._depth}".encode()
        self._fingerprints: dict[bytes, int] = {}

    def wait(self, now: float, key: bytes = b"") -> int:
        """Take a token: 0, or in how many nanoseconds there will be one."""
        fingerprint = self._fingerprints.get(key)
        if fingerprint is None:
            fingerprint = self._share.fingerprint(self._name, key, is_lasting=not key)
            if len(self._fingerprints) >= REMEMBERED_KEYS:
                self._fingerprints.clear()
            if len(key) <= _REMEMBERED_KEY_BYTES:
                self._fingerprints[key] = fingerprint
        return self._share.rates.take(fingerprint, int(now * 1e9), self._cost, self._depth)


class _RowsAsAsked(dict[str, int]):
    """Gives each key the next row."""

    def __missing__(self, key: str) -> int:
        row = self[key] = len(self)
        return row


def _milliseconds(now: float) -> int:
    # 0 is what a column says that nobody has ever signed.
    return int(now * 1000) + 1
