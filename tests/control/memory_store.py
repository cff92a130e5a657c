"""A store in memory, which can be told to be away, for tests of what stands above it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from clb.control.writer import PlanEntry
from clb.store.interface import StaleRevision, StoreFault
from clb.store.inventory import AuditRecord, Inventory, Replay, Write


class MemoryStore:
    """As store/interface.py has it."""

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.records: list[AuditRecord] = []
        self.replays: dict[str, Replay] = {}
        self.fault: StoreFault | None = None
        """Raised by every call."""

    def read(self) -> Inventory:
        self._check()
        return self.inventory

    def revision(self) -> int:
        return self.read().revision

    def commit(self, write: Write, expected: int) -> int:
        self._check()
        if write.changes_something:
            if expected != self.inventory.revision:
                raise StaleRevision("somebody else wrote")
            self.inventory = replace(self.inventory.after(write), revision=expected + 1)
        self.records += write.audit
        if write.replay is not None:
            self.replays[write.replay.key] = write.replay
        return self.inventory.revision

    def replay(self, key: str) -> Replay | None:
        self._check()
        return self.replays.get(key)

    def audit(self, after: int, limit: int, since: datetime | None = None) -> list[tuple[int, AuditRecord]]:
        self._check()
        found = [
            (number, record)
            for number, record in enumerate(self.records, start=1)
            if (not after or number < after) and (since is None or record.at >= since)
        ]
        return found[::-1][:limit]

    def wait_for_change(self, known: int, timeout_s: float, stopped: Callable[[], bool]) -> bool:
        return False

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


class NothingApplied:
    """An Applier for inventories that change nothing for traffic."""

    async def plan(self, before: Inventory, after: Inventory) -> Sequence[PlanEntry]:
        return ()

    async def apply(
        self, before: Inventory, after: Inventory, commit: Callable[[], Awaitable[None]]
    ) -> Sequence[PlanEntry]:
        await commit()
        return ()
