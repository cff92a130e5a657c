"""What a child process of the supervisor is given at its start.

Owns:      the two sets of things, for a worker and for the control process.
Elsewhere: the fork, and what is done between it and the entry points (processes.py): by the time `run_worker` or
           `run_control` is called, signal handlers are the system's own, descriptors that belong to others are
           closed, the user is `node.user`, the process is hardened and the log names its role.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clb.metering.cells import Cells
from clb.metering.keyed_cells import KeyedCells
from clb.service.channel import Channel


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How `clb serve` was told to log."""

    format: Literal["text", "json"]
    level: Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """For `clb.service.worker.run_worker(start) -> int`, whose result is the exit status."""

    slot: int
    """Which of the workers this is, from 0; its successor after a crash has the same."""
    column: int
    """Its column of the cells, cleared."""
    version: int
    """Of the configuration; `ready` names it."""
    channel: Channel
    outline: int
    """Memory file, for `BundleReader.outline`."""
    keys: int
    """Memory file, for `BundleReader.keys`: of the certificates of the file."""
    bases: Sequence[ssl.SSLContext]
    """`Outline.bases` has the listeners' places in it. Bare: the worker sets them up."""
    sockets: Mapping[tuple[str, int], socket.socket]
    """By `listener_key` and slot; bound and listening. Usually those of its own slot, some of others' where workers
    were taken away."""
    cells: Cells
    keyed: KeyedCells
    """`KeyedCells(columns)`, made with the cells and with as many columns; a worker uses the same column of both. The
    rows that `NodeShare` asks for are those of listeners and of rules (`Outline.rows`)."""
    state_dir: Path
    counters: Path
    """Directory of the counter files; exists, and belongs to the user that the process is."""
    log: LogSettings
    supervisor_pid: int
    cookie_key: bytes = field(repr=False)
    changes: Sequence[int] = ()
    """Memory files: what writes changed of the outline since, in their order."""
    stored_keys: Sequence[int] = ()
    """Memory files like `keys`, of certificates of the store; of a name the last one counts."""


@dataclass(frozen=True, slots=True)
class ControlStart:
    """For `clb.service.control_process.run_control(start) -> int`; it writes to column 0 of the cells."""

    version: int
    channel: Channel
    outline: int
    """Memory file, for `BundleReader.outline`."""
    admin_identity: int | None
    """Memory file, for `BundleReader.admin`; None when the management address has no TLS."""
    control_socket: socket.socket
    """`state_dir/control.sock`, bound and listening."""
    admin_socket: socket.socket
    """`admin.address:port`, bound and listening."""
    cells: Cells
    state_dir: Path
    counters: Path
    log: LogSettings
    config_path: Path
    supervisor_pid: int
    changes: Sequence[int] = ()
    """As the workers'."""
    keyring: int | None = None
    """Memory file with the secrets that open stored keys; None while there are none."""
