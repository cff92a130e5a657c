"""Become a new program in the same process, and find there what the old one held.

Owns:      what crosses an exec, in a memory file that an environment variable names.
Elsewhere: when it happens, and what the new program does with it (upgrade.py, supervisor.py);
           docs/decisions/upgrade-in-the-same-process.md.

Open files live on across an exec if they are marked so. Everything else is gone: objects, timers, the base contexts
with their ticket keys. What is handed over is therefore only numbers: of descriptors, and of children.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "CLB_HANDOVER"
_FORMAT: Final = 1


class NoHandover(Exception):
    """The variable is there, but what it names cannot be used."""


@dataclass(slots=True)
class HeldSockets:
    """A group of listening sockets."""

    address: str
    port: int
    descriptors: list[int]


@dataclass(slots=True)
class HeldChild:
    """A child that the new program inherits."""

    role: str
    """`worker` or `control`."""
    pid: int
    slot: int
    channel: int
    version: int
    is_draining: bool
    started_at: float


@dataclass(slots=True)
class Handover:
    """All that crosses."""

    version: int
    """Last configuration that was in service; the next one counts on."""
    state_dir: str
    lock: int
    control_socket: int
    admin: HeldSockets
    sockets: list[HeldSockets]
    children: list[HeldChild]
    judged: dict[str, list[int]] = field(default_factory=dict)
    """The control process's rows of the cells, by key: a healthy target need not prove itself again."""
    drain_timeout: float = 30.0

    def descriptors(self) -> Iterator[int]:
        """Every open file that is named here."""
        yield self.lock
        yield self.control_socket
        for group in (self.admin, *self.sockets):
            yield from group.descriptors
        for child in self.children:
            yield child.channel


def program() -> list[str]:
    """The command line that started this program, with the interpreter that runs it."""
    return [sys.executable, *sys.orig_argv[1:]]


def check_command(config_path: Path) -> list[str] | None:
    """The command line of `clb check` of whatever program `program` would start now."""
    command = program()
    if "serve" not in command:
        return None
    return [*command[: command.index("serve")], "check", "--config", str(config_path)]


def become(handover: Handover, command: list[str]) -> None:
    """Run the command in this process; returns only if that fails.

    Raises:
        OSError: there is no such program any more.
    """
    memory = os.memfd_create("clb-handover")
    environment = {**os.environ, VARIABLE: str(memory)}
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(json.dumps({"format": _FORMAT, **asdict(handover)}).encode())
        os.set_inheritable(memory, True)
        _set_inheritable(handover.descriptors(), True)
        os.execve(command[0], command, environment)  # noqa: S606 - the same program, by its own command line
    finally:
        os.close(memory)
        _set_inheritable(handover.descriptors(), False)


def receive(environment: MutableMapping[str, str]) -> Handover | None:
    """Return what a predecessor left, if this program was started by `become`.

    Raises:
        NoHandover: it cannot be understood.
    """
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        memory = int(text)
        with open(memory, "rb") as file:
            file.seek(0)
            handover = _parse(json.load(file))
        _set_inheritable(handover.descriptors(), False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NoHandover(f"{VARIABLE}: {error}") from error
    return handover


def _parse(data: dict[str, Any]) -> Handover:
    if data.pop("format") != _FORMAT:
        raise ValueError("it was written by a program that this one does not know")
    data["admin"] = HeldSockets(**data["admin"])
    data["sockets"] = [HeldSockets(**group) for group in data["sockets"]]
    data["children"] = [HeldChild(**child) for child in data["children"]]
    return Handover(**data)


def _set_inheritable(descriptors: Iterable[int], value: bool) -> None:
    for descriptor in descriptors:
        os.set_inheritable(descriptor, value)


def open_sockets(group: HeldSockets) -> list[socket.socket]:
    """Return the group's sockets as objects."""
    return [socket.socket(fileno=descriptor) for descriptor in group.descriptors]
