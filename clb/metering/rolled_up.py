"""Counters of files added up by name, with what is counted below also in what is above.

Owns:      the sums, and which of them changed.
Elsewhere: following a file (counter_reader.py); which counters belong above, too (counter_fields.py).
Pure:      what grew goes in, sums come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from clb.metering.counter_fields import FIELDS, ROLLED_UP, WIRE, Kind, parent_of
from clb.metering.counter_format import Header

Counts = dict[str, int]
"""Counters by name (`FIELDS`)."""


class Growing(Protocol):
    """A file that is followed (counter_reader.FileView)."""

    header: Header

    def growth(self) -> Iterable[tuple[Kind, str, Iterable[int]]]:
        """What has grown since the last call, and by how much."""


class RolledUp:
    """Sums over whatever was taken."""

    def __init__(self) -> None:
        self.tables: dict[Kind, dict[str, Counts]] = {kind: {} for kind in Kind}
        self.changed: set[tuple[Kind, str]] = set()
        """Whoever asks for it empties it."""

    def take(self, view: Growing) -> None:
        """Add what a file has grown by."""
        for kind, key, growth in view.growth():
            if kind is Kind.LANES:
                self._add(Kind.LISTENER, parent_of(kind, key), zip(WIRE, growth, strict=True))
            else:
                self._add(kind, key, zip(view.header.fields[kind], growth, strict=True))

    def _add(self, kind: Kind, key: str, growth: Iterable[tuple[str, int]]) -> None:
        """Add to a name's counts, and what is counted once, below, to those of its rule and listener."""
        counts = self.tables[kind].get(key)
        if counts is None:
            counts = self.tables[kind][key] = dict.fromkeys(FIELDS[kind], 0)
            self.changed.add((kind, key))
        belongs_above = ROLLED_UP.get(kind, ())
        above: list[tuple[str, int]] = []
        for name, more in growth:
            if more:
                counts[name] = counts.get(name, 0) + more
                self.changed.add((kind, key))
                if name in belongs_above:
                    above.append((name, more))
        if above:
            self._add(Kind(kind - 1), parent_of(kind, key), above)
