"""Copy a store to a file and back, whatever database it is in.

Owns:      the file: 0600, whole or not at all; what a restored store's revision is.
Elsewhere: the format (dump.py); the command (cli/store.py). docs/store.md tells it to operators.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from clb.store.database import MOST_AUDIT_RECORDS, Database
from clb.store.dump import Dump, DumpFault, dump_lines, read_dump
from clb.store.inventory import AuditRecord

_LEAP: Final = 1_000_000
"""More writes than anybody makes between a backup and its return."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a store or a backup, as numbers."""

    revision: int
    entries: int
    certificates: int
    tokens: int
    audit_records: int

    @classmethod
    def of(cls, dump: Dump) -> Contents:
        """Count."""
        inventory = dump.inventory
        tokens, audit = len(inventory.tokens), len(dump.audit)
        return cls(inventory.revision, len(inventory.entries), len(inventory.certificates), tokens, audit)


def back_up(store: Database, path: Path) -> Contents:
    """Write a new file with everything but the replays. The store may be in use.

    Raises:
        StoreAway: the database cannot be read.
        OSError: the file is there already, or cannot be written; nothing is left of it.
    """
    dump = Dump(store.read(), tuple(_audit(store)))
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(dump_lines(dump.inventory, dump.audit))
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # Never over a file that is there.
    finally:
        beside.unlink()
    return Contents.of(dump)


def read_backup(path: Path) -> Dump:
    """Read a file that `back_up` wrote.

    Raises:
        DumpFault: it is none, or not whole.
        OSError: it cannot be read.
    """
    try:
        return read_dump(path.read_bytes())
    except DumpFault as fault:
        raise DumpFault(f"{path}: {fault}") from fault


def restore(store: Database, dump: Dump, record: AuditRecord) -> int:
    """Put a backup in the place of all that is there, in one transaction; return the new revision.

    `record` says who did it. The revision is one that was never there, so that every node that follows the store
    takes notice. One more than the backup's would not do: if the database itself was lost, a node may know just that
    one, of a write behind the backup, and would overwrite what was restored by what it still has in memory. A part of
    the leap is drawn by lot, for a backup that comes back twice.

    Raises:
        StoreAway, OutcomeUnknown: see there.
    """
    inventory = dump.inventory
    leap = _LEAP + secrets.randbelow(_LEAP)
    return store.replace(replace(inventory, revision=inventory.revision + leap), (*dump.audit, record))


def _audit(store: Database) -> Iterator[AuditRecord]:
    """All audit records, oldest first."""
    found: list[AuditRecord] = []
    after = 0
    while page := store.audit(after, MOST_AUDIT_RECORDS):
        found += [record for _, record in page]
        after = page[-1][0]
    return reversed(found)
