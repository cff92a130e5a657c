"""What counters have grown by since it was last written down, for each file, listener and rule.

Owns:      readings of the counter files, and their difference to the positions that the ledger remembers.
Elsewhere: following files (metering/counter_reader.py); amounts (metering/usage.py); writing (ledger_keeper.py).

A reading and what was read before are both of *names*: a rule's amounts are its own and its targets'. So a file that
was put together anew (removed targets added up in their rule) reads as it did. What is of nobody any more has gone into
`(other)` then; what was read of it before is taken out there, so that nothing is counted twice. The same holds for what
a name that is still or again there has less than it had; only a power cut could make it less too. The header's epoch,
which is remembered as a position of its own, tells which of the two it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clb.metering.counter_fields import OTHER, REQUESTS, Kind
from clb.metering.counter_reader import CounterReader, FileView
from clb.metering.rolled_up import RolledUp
from clb.metering.usage import Amounts, amounts_of, grown

KINDS = (Kind.LISTENER, Kind.RULE)
Position = tuple[str, int, str]
"""UUID of a file, kind and name."""
_EPOCH = -1
"""A kind that no counter has: the position of a file's epoch."""


@dataclass(slots=True)
class Reading:
    """What there is to write down."""

    growth: dict[tuple[Kind, str], Amounts] = field(default_factory=dict)
    """Over all files."""
    positions: dict[Position, Amounts] = field(default_factory=dict)
    """What was read, of that which is other than before."""
    gone: list[Position] = field(default_factory=list)
    fell: list[str] = field(default_factory=list)
    """Names of counters that are lower than they were read once."""


@dataclass(slots=True)
class _Followed:
    view: FileView
    sums: RolledUp = field(default_factory=RolledUp)
    is_new: bool = True


class CounterDeltas:
    """Of one directory."""

    def __init__(self, directory: Path) -> None:
        self._reader = CounterReader(directory)
        self._files: dict[str, _Followed] = {}
        """By UUID."""
        self._pending: set[Position] = set()
        """What changed since it was last written down."""
        self._checked: set[str] = set()
        """Files whose positions were compared with what is in them."""

    def read(self, known: Mapping[Position, Mapping[str, int]]) -> Reading:
        """Compare the files with what is known to be written down."""
        self._look()
        reading = Reading()
        for uuid, followed in self._files.items():
            if followed.is_new:
                epoch = {"epoch": followed.view.header.epoch}
                at = known.get((uuid, _EPOCH, ""), epoch)
                _move_to_other(uuid, followed.sums, known, reading, is_rebooted=at != epoch)
                if (uuid, _EPOCH, "") not in known or at != epoch:
                    reading.positions[uuid, _EPOCH, ""] = epoch
        for uuid, kind, name in self._pending:
            self._compare((uuid, kind, name), known, reading)
        return reading

    def written(self, reading: Reading) -> None:
        """It is in the ledger: what has not changed since need not be looked at again."""
        for followed in self._files.values():
            followed.is_new = False
        self._pending -= reading.positions.keys()

    def forget(self) -> None:
        """Compare everything anew: what is known to be written down is another."""
        for uuid, followed in self._files.items():
            followed.is_new = True
            self._pending |= {(uuid, kind, name) for kind in KINDS for name in followed.sums.tables[kind]}

    def open_connections(self) -> dict[str, int]:
        """How many connections each listener has now."""
        found: dict[str, int] = {}
        for followed in self._files.values():
            for name, counts in followed.sums.tables[Kind.LISTENER].items():
                is_open = counts.get("connections", 0) - counts.get("ended", 0)
                if is_open > 0:
                    found[name] = found.get(name, 0) + is_open
        return found

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    def _look(self) -> None:
        views = {view.header.uuid.hex(): view for view in self._reader.files()}
        for uuid in self._files.keys() - views.keys():
            del self._files[uuid]
            self._pending = {each for each in self._pending if each[0] != uuid}
        for uuid, view in views.items():
            followed = self._files.get(uuid)
            if followed is None or followed.view is not view:
                followed = self._files[uuid] = _Followed(view)
                # A name may be there no more.
                self._pending = {each for each in self._pending if each[0] != uuid}
            followed.sums.take(view)
            self._pending |= {(uuid, kind, name) for kind, name in followed.sums.changed if kind in KINDS}
            followed.sums.changed.clear()

    def _compare(self, position: Position, known: Mapping[Position, Mapping[str, int]], reading: Reading) -> None:
        uuid, kind, name = position
        now = amounts_of(self._files[uuid].sums.tables[Kind(kind)][name])
        last = reading.positions.get(position, known.get(position, {}))
        growth, fell = grown(now, last)
        if fell:
            reading.fell.append(name)
        reading.positions[position] = now
        if growth:
            total = reading.growth.setdefault((Kind(kind), name), {})
            for amount, more in growth.items():
                total[amount] = total.get(amount, 0) + more


def _move_to_other(
    uuid: str, sums: RolledUp, known: Mapping[Position, Mapping[str, int]], reading: Reading, *, is_rebooted: bool
) -> None:
    """What was read of names that a file has no more is in `(other)` now: count it there as read."""
    for position, amounts in _vanished(uuid, sums, known, is_rebooted=is_rebooted):
        _, kind, name = position
        if name in sums.tables[Kind(kind)]:
            last = known[position]
            reading.positions[position] = {each: last[each] - amounts.get(each, 0) for each in last}
        else:
            reading.gone.append(position)
        other = (uuid, kind, OTHER)
        moved = dict(reading.positions.get(other, known.get(other, {})))
        for amount, count in amounts.items():
            # A rule's requests belong to its listener as well, and are all that is left of them.
            if kind != Kind.RULE or amount not in REQUESTS:
                moved[amount] = moved.get(amount, 0) + count
        reading.positions[other] = moved


def _vanished(
    uuid: str, sums: RolledUp, known: Mapping[Position, Mapping[str, int]], *, is_rebooted: bool
) -> Iterator[tuple[Position, Mapping[str, int]]]:
    for position, amounts in known.items():
        file, kind, name = position
        if file != uuid or kind == _EPOCH or name == OTHER:
            continue
        counts = sums.tables[Kind(kind)].get(name)
        now = amounts_of(counts) if counts is not None else {}
        fallen = {each: count - now.get(each, 0) for each, count in amounts.items() if count > now.get(each, 0)}
        if counts is None or (fallen and not is_rebooted):
            yield position, fallen
