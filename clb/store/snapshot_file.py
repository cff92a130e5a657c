"""What the store said last, in a file of this node: it starts from it when the database is away.

Owns:      `state_dir/store.snapshot`: 0600, replaced whole or not at all.
Elsewhere: the format (dump.py); when it is used (service/loader.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clb.store.dump import DumpFault, dump_lines, read_dump
from clb.store.inventory import Inventory

NAME: Final = "store.snapshot"


@dataclass(frozen=True, slots=True)
class NoSnapshot:
    """There is none that can be used."""

    reason: str


def write_snapshot(state_dir: Path, inventory: Inventory) -> None:
    """Replace the file; on the disk before the old one is gone.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    write_lines(state_dir, dump_lines(inventory))


def write_lines(state_dir: Path, lines: Iterable[bytes]) -> None:
    """The same of an inventory that is dumped already."""
    path, beside = state_dir / NAME, state_dir / f"{NAME}.new"
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read_snapshot(state_dir: Path) -> Inventory | NoSnapshot:
    """What was written last."""
    try:
        data = (state_dir / NAME).read_bytes()
    except FileNotFoundError:
        return NoSnapshot("there is no local copy of the store yet")
    except OSError as error:
        return NoSnapshot(f"the local copy of the store cannot be read: {error.strerror}")
    try:
        return read_dump(data).inventory
    except DumpFault as fault:
        return NoSnapshot(f"the local copy of the store cannot be used: {fault}")
