"""What a store can do, and how it fails: the seam between the API and a database.

Owns:      the interface that database.py implements and that tests replace.
Elsewhere: what is stored (inventory.py); SQLite and PostgreSQL (database.py).

Every method may wait for a disk or a network: call it from a thread, never from a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from clb.store.inventory import AuditRecord, Inventory, Replay, Write


class StoreFault(Exception):
    """Base of what a store raises; nothing was changed unless the leaf says otherwise."""


class StoreAway(StoreFault):
    """The database cannot be reached, is locked, full or read-only. Nothing was changed."""


class OutcomeUnknown(StoreFault):
    """The connection was lost during COMMIT: the write took place whole, or not at all."""


class StaleRevision(StoreFault):
    """Somebody else wrote in between: read again, decide again."""


class SchemaFault(StoreFault):
    """The database's schema is newer than this clb, or is not clb's."""


class Store(Protocol):
    """One database, as one node uses it."""

    def read(self) -> Inventory:
        """Everything, by one consistent read.

        Raises:
            StoreAway: the database cannot be read.
        """

    def revision(self) -> int:
        """The present revision; cheap, for polling.

        Raises:
            StoreAway: the database cannot be read.
        """

    def commit(self, write: Write, expected: int) -> int:
        """Write it, if the revision is still `expected`; return the new one.

        A write that only has audit records or a replay does not count the revision up, and needs none.

        Raises:
            StaleRevision: it is another one.
            StoreAway: nothing was written.
            OutcomeUnknown: see there.
        """

    def replay(self, key: str) -> Replay | None:
        """The answer that was given under an idempotency key, if it is not older than a day.

        Raises:
            StoreAway: the database cannot be read.
        """

    def audit(self, after: int, limit: int, since: datetime | None = None) -> list[tuple[int, AuditRecord]]:
        """Audit records with their numbers, newest first; those below `after` if it is not 0.

        Raises:
            StoreAway: the database cannot be read.
        """

    def wait_for_change(self, known: int, timeout_s: float, stopped: Callable[[], bool]) -> bool:
        """Wait until the revision may be another: by NOTIFY where there is one, else by polling.

        Returns whether it is worth to read; False after the time-out. Never raises: a database that is away is
        waited for.
        """

    def close(self) -> None:
        """Let go of all connections."""
