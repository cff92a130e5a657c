"""The result of a load, as the supervisor sees it: plain values, and memory files that it only passes on.

Owns:      the form of the message in which the loader answers, on both sides.
Elsewhere: the work (loader.py); what is done with it (reload.py, supervisor.py).
Pure:      a message in, values out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clb.service.bases import Assigned
from clb.service.channel import Message
from clb.service.sockets import Address

FaultKind = Literal["file", "tls"]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Keys of `node` and `admin` that the supervisor acts on."""

    state_dir: Path
    user: str | None
    workers: int
    """`auto` is a number here."""
    drain_timeout: float
    watch: bool
    access_log: Path | None
    """None if it is off or standard output."""
    admin: Address


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is sound. Its memory files are closed by whoever holds it last."""

    version: int
    outline: int
    keys: int
    admin_identity: int | None
    node: NodeFacts
    listeners: dict[str, Address]
    """Where each listener listens, by `listener_key`."""
    bases: Assigned
    rows: list[str]
    """Keys that need rows of the cells, in the order in which the loader gave rows to them."""
    fresh_rows: bool
    """Whether the rows were given out anew, because the table was full."""
    warnings: list[str]
    watched: list[Path]
    """The file and all that it names."""
    plan: list[dict[str, str]]
    """What changes: `kind`, `where`, `what`, and the whole as a `line`."""

    def close(self) -> None:
        """Close the memory files."""
        for descriptor in (self.outline, self.keys, self.admin_identity):
            if descriptor is not None:
                os.close(descriptor)

    def changes(self, kind: str) -> list[str]:
        """The lines of the plan of one kind."""
        return [entry["line"] for entry in self.plan if entry["kind"] == kind]


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """A configuration that is not sound."""

    kind: FaultKind
    faults: list[str]
    warnings: list[str]

    @property
    def text(self) -> str:
        """For the operator."""
        return "\n".join(self.faults)


def read_answer(message: Message, files: Sequence[int]) -> Loaded | NotLoaded:
    """Understand what the loader sent; its files are the result's from now on."""
    if message["type"] == "refused":
        return NotLoaded(message["kind"], message["faults"], message["warnings"])
    node = message["node"]
    return Loaded(
        version=message["version"],
        outline=files[0],
        keys=files[1],
        admin_identity=files[2] if len(files) > 2 else None,
        node=NodeFacts(
            state_dir=Path(node["state_dir"]),
            user=node["user"],
            workers=node["workers"],
            drain_timeout=node["drain_timeout"],
            watch=node["watch"],
            access_log=Path(node["access_log"]) if node["access_log"] else None,
            admin=(node["admin"][0], node["admin"][1]),
        ),
        listeners={key: (address, port) for key, (address, port) in message["listeners"].items()},
        bases={key: (place, fingerprint) for key, (place, fingerprint) in message["bases"].items()},
        rows=message["rows"],
        fresh_rows=message["fresh_rows"],
        warnings=message["warnings"],
        watched=[Path(name) for name in message["watched"]],
        plan=message["plan"],
    )
