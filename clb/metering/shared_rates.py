"""Token buckets that all workers of a node take from, without a lock and without parts of their own.

Owns:      the arithmetic of a bucket whose state is spread over the columns of keyed_cells.py.
Elsewhere: which rates there are and what happens above them (proxy/); the memory (keyed_cells.py).
Pure:      the time is passed in; same cells, same answer.

A bucket is a point in time: the moment at which it will be full again ("theoretical arrival time" of the generic cell
rate algorithm). Each token moves it on by the time that one token takes to come, `cost`; a token is there while the
bucket's moment is at most `depth` (burst times cost) ahead. No worker stores that moment, because two would overwrite
each other. Each stores when it last found the bucket full, `epoch`, and how much time it has spent since, `spent`:

    E      = the latest epoch of all columns
    moment = E + sum over the columns of max(0, spent - (E - epoch))

Within one epoch that is a sum of counters with one writer each, so nothing is lost. An entry of an earlier epoch was
seen by whoever began the later one, and then nothing of it is left (the bucket was full at E, so spent <= E - epoch);
or it was not seen, because both took at the same instant, and then the formula counts what of it is not over by E.

The bound: two workers may both see the last token and both take it. The bucket then knows that it owes one, so in any
time t the node lets through at most rate * t + burst + (workers - 1). A worker that dies takes nothing with it.
A key that had to make room (more keys in debt at once than the table holds; those nearest to a full bucket go first)
begins with a full bucket: rates are exceeded then, but nobody is ever refused for another's sake.
"""

from __future__ import annotations

from struct import Struct

from clb.metering.keyed_cells import WAYS, KeyedColumn, read_set

_SET_NUMBERS = WAYS * 4
# Of each place: spent, epoch, and the bucket's moment when this process last took. Written by index, never by
# `pack_into`, which fills its place with zeros first: another process sees them (tried: one read of thirty).
_read_entry = Struct("2q").unpack_from


class SharedRates:
    """The buckets as one process sees them."""

    def __init__(self, column: KeyedColumn) -> None:
        self._column = column
        self._memory = column.cells.memory
        self._numbers = column.cells.numbers
        self._sets = column.cells.sets
        self._rates_at = column.cells.rates_at
        self.forgotten = 0
        """Keys that made room for others before their buckets were full again."""

    def take(self, fingerprint: int, now: int, cost: int, depth: int) -> int:
        """Take a token: 0, or in what time there will be one. All times are in nanoseconds; `depth >= cost`."""
        memory = self._memory
        set_at = self._rates_at + (fingerprint >> 1) % self._sets * _SET_NUMBERS
        own_set = self._column.base + set_at
        own, entries, epoch = -1, [], 0
        places = read_set(memory, own_set * 8)
        if fingerprint in places:
            own = own_set + WAYS + places.index(fingerprint) * 3
            own_spent, own_epoch = _read_entry(memory, own * 8)
            epoch = own_epoch
        for base in self._column.others:
            other_set = base + set_at
            places = read_set(memory, other_set * 8)
            if fingerprint in places:
                entry = _read_entry(memory, (other_set + WAYS + places.index(fingerprint) * 3) * 8)
                entries.append(entry)
                if entry[1] > epoch:
                    epoch = entry[1]
        share = max(0, own_spent - (epoch - own_epoch)) if own >= 0 else 0
        moment = epoch + share
        for spent, since in entries:
            left = spent - (epoch - since)
            if left > 0:
                moment += left
        if moment <= now:
            epoch = moment = now
            share = 0
        moment += cost
        if moment - now > depth:
            return moment - now - depth
        if own >= 0:
            self._write(own, share + cost, epoch, moment)
        else:
            way = self._free(own_set, now)
            self._write(own_set + WAYS + way * 3, share + cost, epoch, moment)
            self._numbers[own_set + way] = fingerprint
        return 0

    def _write(self, own: int, spent: int, epoch: int, moment: int) -> None:
        numbers = self._numbers
        # Whoever reads in between must not take the bucket for fuller than it is.
        if moment - spent == epoch:
            # All of it is ours: a bucket that was full, or one that nobody else takes from.
            numbers[own] = spent
            numbers[own + 1] = epoch
        else:
            numbers[own + 1] = epoch
            numbers[own] = spent
        numbers[own + 2] = moment

    def _free(self, own_set: int, now: int) -> int:
        """Free a place: one that was never used, else that of the bucket that is full already or will be first."""
        numbers = self._numbers
        best, best_rank = 0, (True, 0)
        for way in range(WAYS):
            holder = numbers[own_set + way]
            # Below 0 stands for a place that was never used.
            rank = (bool(holder & 1), numbers[own_set + WAYS + way * 3 + 2] if holder else -1)
            if way == 0 or rank < best_rank:
                best, best_rank = way, rank
        self.forgotten += best_rank[1] > now
        numbers[own_set + best] = 0  # Nobody must take the old key's numbers for the new one's.
        return best
