"""How much of something each key has under way in the whole node: connections by source.

Owns:      adding a process's own counts to what the others' columns say.
Elsewhere: the memory (keyed_cells.py); what is counted, and the bound (proxy/admission.py).
Pure:      numbers in, numbers out.

A process's own counts are exact. Others see them but for keys that found no place in a set that is full of keys which
all have something under way; such a key's bound then holds for each process. Two processes that count the same key at
the same instant may both stay below a bound, so it is exceeded by at most (workers - 1).
"""

from __future__ import annotations

from clb.metering.keyed_cells import WAYS, KeyedColumn, read_set

_SET_NUMBERS = WAYS * 2


class SharedCounts:
    """The counts as one process sees them."""

    def __init__(self, column: KeyedColumn) -> None:
        self._column = column
        self._own: dict[int, int] = {}

    def total(self, fingerprint: int) -> int:
        """Add a key up over the living processes."""
        cells = self._column.cells
        total = self._own.get(fingerprint, 0)
        set_at = cells.counts_at + (fingerprint >> 1) % cells.sets * _SET_NUMBERS
        for base in self._column.others:
            places = read_set(cells.memory, (base + set_at) * 8)
            if fingerprint in places:
                total += cells.numbers[base + set_at + WAYS + places.index(fingerprint)]
        return total

    def add(self, fingerprint: int) -> None:
        """Count one more."""
        count = self._own[fingerprint] = self._own.get(fingerprint, 0) + 1
        self._publish(fingerprint, count)

    def remove(self, fingerprint: int) -> None:
        """Count one less."""
        count = self._own.pop(fingerprint) - 1
        if count:
            self._own[fingerprint] = count
        self._publish(fingerprint, count)

    def _publish(self, fingerprint: int, count: int) -> None:
        cells = self._column.cells
        numbers = cells.numbers
        set_at = self._column.base + cells.counts_at + (fingerprint >> 1) % cells.sets * _SET_NUMBERS
        places = read_set(cells.memory, set_at * 8)
        if fingerprint in places:
            numbers[set_at + WAYS + places.index(fingerprint)] = count
            return
        counts = read_set(cells.memory, (set_at + WAYS) * 8)
        if count and 0 in counts:
            place = set_at + counts.index(0)
            numbers[place] = 0
            numbers[place + WAYS] = count
            numbers[place] = fingerprint
