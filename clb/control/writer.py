"""Every change that comes through the API goes this way: one at a time, whole or not at all.

Owns:      the order of a write (replay, draft, check, workers prepare, commit, workers activate), its repetition when
           another node wrote in between, and following what other nodes write.
Elsewhere: what a write is (store/inventory.py); its effect on workers (`Applier`, service/applying.py); which answer a
           fault becomes (app.py).

The commit in the database is the decision. Until then every worker has the new state beside the old one; a fault
before it discards it everywhere. If nobody can say whether it took place (OutcomeUnknown), the workers discard, and
following the store brings them to whatever it says once it can be read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from clb.observe.logging import fields
from clb.store.interface import OutcomeUnknown, SchemaFault, StaleRevision, Store, StoreAway
from clb.store.inventory import AuditRecord, Inventory, Replay, Write

_ATTEMPTS = 5
"""How often a write is drafted anew because another node was faster."""

_Answer = TypeVar("_Answer")
_Result = TypeVar("_Result")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One thing that changes for traffic, in the words of `clb reload --plan`."""

    kind: str
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a write cannot be served: which object, which key of it, and what would be right."""

    where: str
    """Such as `load balancer shop, listener https`; empty for the request's own object."""
    key: str
    """Dotted path of the key, such as `health_check.interval`."""
    message: str


class CannotServe(Exception):
    """The state that a write leads to is not sound; nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class NodeBusy(Exception):
    """The node is starting, ending or its supervisor is silent; nothing was changed. Try again."""


class Applier(Protocol):
    """From one inventory to another, in all workers."""

    async def plan(self, before: Inventory, after: Inventory) -> Sequence[PlanEntry]:
        """Check the state that would be, and say what would change for traffic.

        Raises:
            CannotServe: it is not sound.
        """

    async def apply(
        self, before: Inventory, after: Inventory, commit: Callable[[], Awaitable[None]]
    ) -> Sequence[PlanEntry]:
        """Let every worker prepare, call `commit`, let them activate; return when all have.

        If nothing changes for traffic, `commit` is all that is done. What `commit` raises is raised on, after every
        worker has discarded.

        Raises:
            CannotServe: a check, OpenSSL or a worker refuses it.
            NodeBusy: see there.
        """


@dataclass(frozen=True, slots=True)
class Draft(Generic[_Answer]):
    """A write and what whoever asked is told if it takes place."""

    write: Write
    answer: _Answer
    replay: Callable[[_Answer], Replay] | None = None
    """Makes what a repetition of the request is answered; None if the request had no Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Written(Generic[_Answer]):
    """What became of it."""

    answer: _Answer
    changes: Sequence[PlanEntry]
    revision: int
    took_place: bool
    """False of a dry run."""


class Writer:
    """One in the control process."""

    def __init__(self, store: Store, applier: Applier, inventory: Inventory) -> None:
        self._store = store
        self._applier = applier
        self._lock = asyncio.Lock()
        self.inventory = inventory
        """As of the last write or look; read it once for an answer, it is replaced and never changed."""
        self.store_fault: str | None = None
        """Why the store cannot be used, as of the last attempt."""
        self.away_since: datetime | None = None
        self.on_change: Callable[[Inventory], None] = lambda _: None
        """Called with each inventory that is known from then on."""

    async def write(self, draft: Callable[[Inventory], Draft[_Answer]], *, dry_run: bool = False) -> Written[_Answer]:
        """Let `draft` decide on the newest inventory, and do what it says.

        `draft` may be called several times; what it raises is raised on (ApiFault: 404, 409, 412, 422).

        Raises:
            CannotServe, NodeBusy, StoreAway, OutcomeUnknown: see there.
        """
        async with self._lock:
            for _ in range(_ATTEMPTS):
                before = self.inventory
                drafted = draft(before)
                after = before.after(drafted.write)
                if dry_run:
                    changes = await self._applier.plan(before, after)
                    return Written(drafted.answer, changes, before.revision, took_place=False)
                try:
                    return await self._take_place(before, after, drafted)
                except StaleRevision:
                    await self._look()
        raise NodeBusy("other nodes write all the time; try again")

    async def _take_place(self, before: Inventory, after: Inventory, drafted: Draft[_Answer]) -> Written[_Answer]:
        write = drafted.write
        if drafted.replay is not None:
            write = replace(write, replay=drafted.replay(drafted.answer))
        revision = before.revision

        async def commit() -> None:
            nonlocal revision
            revision = await self.ask(lambda: self._store.commit(write, before.revision))
            # From here on it has taken place, whatever happens to the workers.
            self._know(after if revision == after.revision else replace(after, revision=revision))

        changes = await self._applier.apply(before, after, commit)
        return Written(drafted.answer, changes, revision, took_place=True)

    async def follow(self) -> bool:
        """Take up what other nodes wrote; return whether there was anything.

        Raises:
            StoreAway: the database cannot be read.
            CannotServe: what they wrote cannot be served here; what was in service stays.
        """
        async with self._lock:
            return await self._look()

    async def _look(self) -> bool:
        before = self.inventory
        if await self.ask(self._store.revision) == before.revision:
            return False
        found = await self.ask(self._store.read)
        found = found.sharing(before)
        # The newest is what the next draft is made on, even if it cannot be served here.
        self._know(found)
        changes = await self._applier.apply(before, found, _nothing)
        _logger.info("followed the store", extra=fields(revision=found.revision, changes=len(changes)))
        return True

    async def repeat(self) -> None:
        """Let the workers have what the store is known to have, if they do not have it.

        Raises:
            CannotServe, NodeBusy: see there.
        """
        async with self._lock:
            await self._applier.apply(self.inventory, self.inventory, _nothing)

    def _know(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.on_change(inventory)

    async def replayed(self, key: str) -> Replay | None:
        """Find the answer to an earlier request with this key.

        Raises:
            StoreAway: the database cannot be read.
        """
        return await self.ask(lambda: self._store.replay(key))

    async def record(self, records: tuple[AuditRecord, ...]) -> None:
        """Keep audit records of what is no write; the revision stays.

        Raises:
            StoreAway, OutcomeUnknown: see there.
        """
        revision = self.inventory.revision
        await self.ask(lambda: self._store.commit(Write(audit=records), revision))

    async def recorded(self, below: int, limit: int, since: datetime | None = None) -> list[tuple[int, AuditRecord]]:
        """Audit records with their numbers, newest first; those below a number if it is not 0.

        Raises:
            StoreAway: the database cannot be read.
        """
        return await self.ask(lambda: self._store.audit(below, limit, since))

    async def ask(self, question: Callable[[], _Result]) -> _Result:
        """Ask the store in a thread, and remember whether it answers."""
        try:
            answer = await asyncio.to_thread(question)
        except (StoreAway, OutcomeUnknown, SchemaFault) as fault:
            self.store_fault = str(fault)
            self.away_since = self.away_since or datetime.now(UTC)
            raise
        self.store_fault = self.away_since = None
        return answer


async def _nothing() -> None:
    """What is followed has been committed by somebody else."""
