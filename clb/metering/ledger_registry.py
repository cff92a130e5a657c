"""Which ledger counts for which name, and which record it stands on.

Owns:      one ledger for each name for as long as somebody holds it, room in the file for new names.
Elsewhere: the file (counter_file.py), counting (ledgers.py), the names (cells.py).

A ledger that nobody holds any more is forgotten; its record stays, and a ledger of the same name goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from clb.metering.cells import NODE
from clb.metering.counter_fields import OTHER, Kind, field_index, lanes_key, stored_key
from clb.metering.counter_file import CounterFile, compact, memory_file, open_counter_file
from clb.metering.ledgers import Ledger, ListenerLedger, RuleLedger, TargetLedger

_STARTS, _UNRECORDED = (field_index(Kind.NODE, name) for name in ("worker_starts", "keys_without_record"))

AnyLedger = TypeVar("AnyLedger", bound=Ledger)


class Ledgers:
    """The ledgers of one worker."""

    def __init__(self, file: CounterFile) -> None:
        self._file = file
        self._ledgers: WeakValueDictionary[tuple[Kind, str], Ledger] = WeakValueDictionary()
        self._others = {each.kind: self._make(each, OTHER) for each in (ListenerLedger, RuleLedger, TargetLedger)}

    @property
    def path(self) -> Path | None:
        """The file; None where counting is in memory."""
        return self._file.path

    def listener(self, key: str) -> ListenerLedger:
        """Return a listener's ledger, by `listener_key`."""
        return self._ledger(ListenerLedger, key)

    def rule(self, key: str) -> RuleLedger:
        """Return a rule's ledger, by `rule_key`."""
        return self._ledger(RuleLedger, key)

    def target(self, key: str) -> TargetLedger:
        """Return a target's ledger, by `target_key`."""
        return self._ledger(TargetLedger, key)

    def make_room(self) -> None:
        """Add up what nobody counts in any more, if the file is getting full; best called behind a reload.

        The sums by kind stay what they are; a name that is in no configuration any more is shown as `(other)`.
        """
        if not self._file.is_crowded or 2 * len(self._ledgers) > self._file.records:
            return
        try:
            self._file = compact(self._file, set(self._keys_in_use()))
        except OSError:
            return  # The disk is full. The old file is as it was.
        for (kind, key), ledger in self._ledgers.items():
            record = self._kept(kind, key)
            if isinstance(ledger, ListenerLedger):
                ledger.moved(record, self._new_lanes(key, ledger))
            else:
                ledger.record = record

    def close(self) -> None:
        """Let a successor have the file; nothing may be counted any more."""
        for ledger in self._ledgers.values():
            if isinstance(ledger, TargetLedger):
                ledger.publish()
        self._file.close()

    def _ledger(self, made: type[AnyLedger], key: str) -> AnyLedger:
        key = stored_key(made.kind, key)
        found = self._ledgers.get((made.kind, key)) or self._make(made, key)
        assert isinstance(found, made)  # the kind is in the key
        return found

    def _make(self, made: type[AnyLedger], key: str) -> Ledger:
        record = self._file.record(made.kind, key)
        if record is None:
            self._count(_UNRECORDED)
            return self._others[made.kind]
        ledger = self._ledgers[made.kind, key] = (
            ListenerLedger(record, partial(self._lanes, key)) if made is ListenerLedger else made(record)
        )
        return ledger

    def _lanes(self, key: str, number: int) -> memoryview | None:
        return self._file.record(Kind.LANES, lanes_key(key, number))

    def _keys_in_use(self) -> Iterator[tuple[Kind, str]]:
        for (kind, key), ledger in self._ledgers.items():
            yield kind, key
            if isinstance(ledger, ListenerLedger):
                for number in range(len(ledger.lanes)):
                    yield Kind.LANES, lanes_key(key, number)

    def _new_lanes(self, key: str, ledger: ListenerLedger) -> dict[int, memoryview]:
        moved = {}
        for number, old in enumerate(ledger.lanes):
            new = self._lanes(key, number)
            if new is not None:
                new[:] = old  # Those that had found no room before are not in it yet.
                moved[id(old)] = new
        return moved

    def _kept(self, kind: Kind, key: str) -> memoryview:
        record = self._file.record(kind, key)
        assert record is not None  # `compact` keeps what is in use
        return record

    def _count(self, place: int) -> None:
        self._kept(Kind.NODE, NODE)[place] += 1


def ledgers_in(directory: Path, report: Callable[[str], None]) -> Ledgers:
    """Take a file for this worker; `report` is told of what an operator should know."""
    ledgers = Ledgers(open_counter_file(directory, report))
    ledgers._count(_STARTS)
    return ledgers


def ledgers_in_memory() -> Ledgers:
    """Return ledgers that end with the process."""
    return Ledgers(memory_file())
