"""The store as the control process has it: opened, read, followed, copied, and done without while it is away.

Owns:      when the API may write, how the node catches up with the store, and what is told of an outage.
Elsewhere: a write (control/writer.py); the database (store/); what a state does to workers (applying.py).
Shell:     tasks on the loop; every call of the store in a thread.

Traffic does not depend on any of this. While the store is away the last inventory is shown and writes fail; once it
answers again it is read, and what others wrote meanwhile comes into service.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from clb.control.node import Node
from clb.control.writer import CannotServe, Draft, NodeBusy, Writer
from clb.metering.cells import rule_key, target_key
from clb.observe.logging import fields
from clb.service import collector
from clb.service.applying import Applying
from clb.service.bundle import Outline
from clb.store.database import Database
from clb.store.dump import dump_lines
from clb.store.interface import Store, StoreFault
from clb.store.inventory import AuditRecord, Inventory, Override, Replay, Write
from clb.store.ledger import LedgerTables
from clb.store.snapshot_file import NoSnapshot, read_snapshot, write_lines

LOOK_S: Final = 30.0
"""A wait for a change ends after so long, so that nothing depends on being told."""
RETRY_S: Final = 2.0
COPIED_IN_A_STEP: Final = 25
COPY_PAUSE_S: Final = 0.004
SNAPSHOT_S: Final = 10.0
"""Between two local copies of the store."""

_Answer = TypeVar("_Answer")

_logger = logging.getLogger(__name__)


class LateStore:
    """A store that is brought to the newest schema when it is first reached, which may be long after the start."""

    def __init__(self, prepare: Callable[[], Database]) -> None:
        self._prepare = prepare
        self._store: Database | None = None
        self._lock = threading.Lock()

    def ledger(self) -> LedgerTables:
        """The ledger's tables.

        Raises:
            StoreFault: there is no database yet.
        """
        return self._ready().ledger

    def _ready(self) -> Database:
        with self._lock:
            if self._store is None:
                self._store = self._prepare()
            return self._store

    def read(self) -> Inventory:
        """As store/interface.py has it; so do the others."""
        return self._ready().read()

    def revision(self) -> int:
        """See there."""
        return self._ready().revision()

    def commit(self, write: Write, expected: int) -> int:
        """See there."""
        return self._ready().commit(write, expected)

    def replay(self, key: str) -> Replay | None:
        """See there."""
        return self._ready().replay(key)

    def audit(self, after: int, limit: int, since: datetime | None = None) -> list[tuple[int, AuditRecord]]:
        """See there."""
        return self._ready().audit(after, limit, since)

    def wait_for_change(self, known: int, timeout_s: float, stopped: Callable[[], bool]) -> bool:
        """See there; while there is no store it returns at once."""
        with suppress(StoreFault):
            return self._ready().wait_for_change(known, timeout_s, stopped)
        return False

    def close(self) -> None:
        """See there."""
        with self._lock:
            if self._store is not None:
                self._store.close()


class StoreKeeper:
    """One in the control process."""

    def __init__(self, node: Node, store: Store, applier: Applying, state_dir: Path) -> None:
        self._node = node
        self._store = store
        self._applier = applier
        self._state_dir = state_dir
        self._is_behind = True
        """What is known of the store may not be in service."""
        self._stopped = threading.Event()
        self._changed = asyncio.Event()
        self._was_away = False

    async def run(self) -> None:
        """Read, follow and copy, until cancelled."""
        copying = asyncio.create_task(self._copy())
        try:
            await self._begin()
            while True:
                await self._follow()
        finally:
            copying.cancel()
            self._stopped.set()

    def close(self) -> None:
        """Let go of the store."""
        self._stopped.set()
        self._store.close()

    # --- the start ---

    async def _begin(self) -> None:
        """Know what the store has, from itself or from the local copy of it."""
        while self._node.writer is None:
            try:
                inventory = await asyncio.to_thread(self._store.read)
            except StoreFault as fault:
                await self._begin_without(fault)
            else:
                self._serve(inventory)
                self._changed.set()

    async def _begin_without(self, fault: StoreFault) -> None:
        found = await asyncio.to_thread(read_snapshot, self._state_dir)
        if isinstance(found, NoSnapshot):
            self._tell_away(str(fault))
            await asyncio.sleep(RETRY_S)
            return
        self._serve(found)
        assert self._node.writer is not None
        self._node.writer.store_fault = str(fault)
        self._tell_away(str(fault))

    def _serve(self, inventory: Inventory) -> None:
        writer = Writer(self._store, self._applier, inventory)
        writer.on_change = lambda _: self._changed.set()
        self._node.writer = writer

    # --- following ---

    async def _follow(self) -> None:
        writer = self._node.writer
        assert writer is not None
        if self._is_behind and not await self._catch_up(writer):
            await asyncio.sleep(RETRY_S)
        if self._was_away:
            await asyncio.sleep(RETRY_S)
        elif not self._is_behind:
            known = writer.inventory.revision
            await asyncio.to_thread(self._store.wait_for_change, known, LOOK_S, self._stopped.is_set)
        try:
            await writer.follow()
        except StoreFault as fault:
            self._tell_away(str(fault))
            return
        except (CannotServe, NodeBusy) as fault:
            self._tell_behind(str(fault))
        if self._was_away:
            self._was_away = False
            self._node.store_fault = None
            _logger.info("the store answers again", extra=fields(revision=writer.inventory.revision))
            self._node.events.add("store_back", "it answers again", "store", revision=writer.inventory.revision)
        if self._applier.is_behind:
            self._is_behind = True
        await self._forget_overrides(writer)

    async def _catch_up(self, writer: Writer) -> bool:
        """Bring into service what is known; whether it is."""
        try:
            await writer.repeat()
        except (CannotServe, NodeBusy) as fault:
            self._tell_behind(str(fault))
            return False
        self._is_behind = self._applier.is_behind
        if not self._is_behind:
            self._node.store_behind = None
        collector.settle()  # What was read stays, and searches of it would hold up every write.
        return not self._is_behind

    async def _forget_overrides(self, writer: Writer) -> None:
        """Overrides of targets whose own weight in the file is another by now, or that are gone, are over."""
        node = self._node
        if self._is_behind or not lapsed(node.outline, writer.inventory):
            return

        def draft(inventory: Inventory) -> Draft[None]:
            over = lapsed(node.outline, inventory)
            at = datetime.fromtimestamp(node.wall(), UTC)
            return Draft(
                Write(
                    removed_overrides=frozenset(each.target for each in over),
                    audit=tuple(_ended(each, at) for each in over),
                ),
                None,
            )

        try:
            await writer.write(draft)
        except (StoreFault, CannotServe, NodeBusy) as fault:
            _logger.debug("overrides that are over stay for now", extra=fields(error=str(fault)))

    # --- telling ---

    def _tell_away(self, fault: str) -> None:
        self._node.store_fault = fault
        if not self._was_away:
            self._was_away = True
            _logger.error("the store is away, traffic goes on and nothing can be written", extra=fields(error=fault))
            self._node.events.add("store_away", fault, "store")

    def _tell_behind(self, fault: str) -> None:
        if not self._is_behind or fault != self._node.store_behind:
            _logger.error("what the store has is not in service", extra=fields(error=fault))
            self._node.events.add("store_behind", fault, "store")
        self._is_behind = True
        self._node.store_behind = fault

    # --- the local copy ---

    async def _copy(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            writer = self._node.writer
            if writer is None:
                continue
            lines = await _dumped(writer.inventory)
            try:
                await asyncio.to_thread(write_lines, self._state_dir, lines)
            except OSError as fault:
                _logger.error("the local copy of the store cannot be written", extra=fields(error=fault.strerror))
            await asyncio.sleep(SNAPSHOT_S)


async def _dumped(inventory: Inventory) -> list[bytes]:
    """In small steps with long pauses: a write that comes meanwhile must not wait, nor its commit in a thread."""
    lines = []
    for number, line in enumerate(dump_lines(inventory), 1):
        lines.append(line)
        if number % COPIED_IN_A_STEP == 0:
            await asyncio.sleep(COPY_PAUSE_S)
    return lines


def lapsed(outline: Outline, inventory: Inventory) -> list[Override]:
    """Overrides of targets of this node's file that are not in force, since the file's own weight is another now.

    Those of targets that the file does not have may be another node's, whose file does.
    """
    waiting = {key: each for key, each in inventory.overrides.items() if key not in outline.overrides}
    if not waiting:
        return []
    found = []
    for balancer in outline.config.load_balancers:
        if balancer.stored is not None:
            continue
        for listener in balancer.listeners:
            for rule in listener.rules:
                name = rule_key(balancer.name, listener.name, rule.domain, rule.url)
                for target in rule.targets:
                    override = waiting.get(target_key(name, target.identity))
                    if override is not None and override.file_weight != target.weight:
                        found.append(override)
    return found


def _ended(override: Override, at: datetime) -> AuditRecord:
    before = {"weight": override.weight, "draining": override.draining, "file_weight": override.file_weight}
    return AuditRecord(at, "clb", "target.override_ended", override.target, before, None, "")
