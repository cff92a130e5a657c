"""What the supervisor holds for as long as the node lives.

Owns:      the shared things (cells, bases, sockets, state directory) and the configuration in service.
Elsewhere: what is done with them (crew.py, change.py, supervisor.py).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from clb.metering.cells import CONTROL, FIELDS, Cells, Rows
from clb.metering.keyed_cells import KeyedCells
from clb.observe.logging import fields
from clb.service.bases import Bases
from clb.service.loader import ROWS, rows_for
from clb.service.loading import Loaded
from clb.service.notify import Notifier
from clb.service.privileges import Credentials
from clb.service.processes import Reaper
from clb.service.reactor import Reactor
from clb.service.restarts import RestartPolicy
from clb.service.sockets import Address, Sockets
from clb.service.starts import LogSettings

_LEAST_COLUMNS: Final = 32
_COLUMNS_PER_WORKER: Final = 4
"""Room for workers that drain while their successors serve, and for more workers later."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `clb serve` was told, and the times that tests shorten."""

    config_path: Path
    log: LogSettings
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    load_timeout_s: float = 90.0
    """The loader's. Five thousand rules take a few seconds."""
    start_timeout_s: float = 60.0
    """From the fork of a worker until it serves."""
    prepare_timeout_s: float = 60.0
    activate_timeout_s: float = 10.0
    decide_timeout_s: float = 30.0
    """How long a commit of the control process may take while all workers wait."""
    most_changes: int = 64
    """Writes whose files are kept one by one; then they become one whole again."""
    ping_s: float = 1.0
    hung_after: int = 10
    """Pings that a worker has left without an answer when it is taken for hung."""
    drain_grace_s: float = 5.0
    """Beyond `node.drain_timeout`, which workers keep by themselves."""
    end_timeout_s: float = 5.0
    """For a process that was told to end at once."""
    watch_s: float = 1.0


class Phase(StrEnum):
    """Where the node is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "draining"


class Table:
    """The cells, and which of their rows and columns are taken."""

    def __init__(self, rows: int, workers: int, given: Rows | None = None) -> None:
        self.rows = given or Rows(rows)
        columns = 1 + max(_LEAST_COLUMNS, _COLUMNS_PER_WORKER * workers)
        self.cells = Cells(rows, columns)
        self.keyed = KeyedCells(columns)
        self._free = list(range(columns - 1, 0, -1))

    @classmethod
    def for_keys(cls, keys: list[str], workers: int) -> Table:
        """Make a table, in which these keys have the rows that the loader gave them in an empty one."""
        table = cls(rows_for(len(keys)), workers)
        table.rows.assign(keys)
        return table

    def widened(self, workers: int) -> Table:
        """Another table for more processes, in which each key has the row that it has here."""
        return Table(self.cells.rows, workers, self.rows)

    def has_room_for(self, workers: int) -> bool:
        """Whether so many workers can be replaced by as many others."""
        return 2 * workers < len(self.cells.columns)

    def take_column(self) -> int | None:
        """Return a cleared column; None when every one has its process."""
        if not self._free:
            return None
        column = self._free.pop()
        self.cells.clear(column, self.rows.used)
        return column

    def give_back(self, column: int) -> None:
        """Its process is gone: what it had in flight is not in flight any more."""
        self.cells.clear(column, self.rows.used)
        self.keyed.forget(column)
        self._free.append(column)

    def judgements(self, keys: list[str]) -> dict[str, list[int]]:
        """What the control process says of things, by key, where it says anything."""
        control = self.cells.columns[CONTROL]
        said = {}
        for key, row in self.rows.assign(keys).items():
            values = control[row * FIELDS : (row + 1) * FIELDS].tolist()
            if any(values):
                said[key] = values
        return said

    def repeat(self, judgements: Mapping[str, list[int]], keys: list[str]) -> None:
        """Say the same in this table, in which no control process writes yet."""
        control = self.cells.columns[CONTROL]
        for key, row in self.rows.assign(keys).items():
            for field_number, value in enumerate(judgements.get(key, ())[:FIELDS]):
                control[row * FIELDS + field_number] = value


@dataclass(slots=True)
class Node:
    """The state."""

    settings: Settings
    reactor: Reactor
    reaper: Reaper
    notifier: Notifier
    bases: Bases = field(default_factory=Bases)
    table: Table = field(default_factory=lambda: Table(ROWS, 1))
    sockets: Sockets = field(default_factory=Sockets)
    phase: Phase = Phase.STARTING
    version: int = 0
    """The last that was given to a configuration, be it in service or refused."""
    active: Loaded | None = None
    """The configuration in service; None until the first is known."""
    # What a running node does not change: as the first configuration said.
    state_dir: Path = Path()
    credentials: Credentials | None = None
    cookie_key: bytes = field(default=b"", repr=False)
    lock: int = -1
    # What a predecessor left, until a configuration is in service.
    inherited_judgements: dict[str, list[int]] = field(default_factory=dict)
    inherited_drain_timeout: float = 0.0
    control_socket: socket.socket | None = None
    admin_socket: socket.socket | None = None
    admin_address: Address | None = None

    @property
    def counters(self) -> Path:
        """Where the counter files are."""
        return self.state_dir / "counters"

    @property
    def drain_timeout(self) -> float:
        """Of the configuration in service."""
        return self.active.node.drain_timeout if self.active is not None else self.inherited_drain_timeout

    def next_version(self) -> int:
        """Number a configuration."""
        self.version += 1
        return self.version

    def take_into_service(self, loaded: Loaded) -> None:
        """Whatever starts from now on starts with this."""
        old, self.active = self.active, loaded
        self.bases.take(loaded.bases)
        if old is not None and old is not loaded:
            old.close()


def log_warnings(loaded: Loaded) -> None:
    """Tell of what is odd about a configuration that is taken."""
    for warning in loaded.warnings:
        _logger.warning(warning)
    for line in loaded.changes_of("needs_restart"):
        _logger.warning("this change waits for a restart, the old value holds", extra=fields(change=line))
