"""The result of a load or of a write, as the supervisor sees it: plain values, and memory files that it only passes on.

Owns:      the form of the messages in which the loader answers and the control process offers a write.
Elsewhere: the work (loader.py, applying.py); what is done with it (reload.py, supervisor.py).
Pure:      a message in, values out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from clb.service.bases import Assigned
from clb.service.channel import Message
from clb.service.sockets import Address

FaultKind = Literal["file", "tls"]
_Value = TypeVar("_Value")


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
    bases: dict[str, tuple[int, str]]
    rows: list[str]
    """Keys that need rows of the cells, in the order in which the loader gave rows to them."""
    fresh_rows: bool
    """Whether the rows were given out anew, because the table was full."""
    warnings: list[str]
    watched: list[Path]
    """The file and all that it names."""
    plan: list[dict[str, str]]
    """What changes: `kind`, `where`, `what`, and the whole as a `line`."""
    changes: tuple[int, ...] = ()
    """Memory files: what writes changed of the outline since, in their order (outline_changes.py)."""
    stored_keys: tuple[int, ...] = ()
    """Memory files: keys of certificates of the store. Like `keys` they are for workers only."""
    keyring: int | None = None
    """Memory file: what opens stored keys. For the control process only."""
    base: int | None = None
    """The version that the last of `changes` was made on; None where all of it is new."""
    has_new_keys: bool = False
    """Whether the last of `stored_keys` came with the last of `changes`."""
    loaded_as: int = 0
    """The version that the loader gave it."""
    generation: int = 0
    """Counts up when changes become part of the whole that they were made on."""

    @property
    def for_control(self) -> tuple[int, ...]:
        """The outline, and what changed since."""
        return (self.outline, *self.changes)

    @property
    def for_workers(self) -> tuple[int, ...]:
        """All that a worker reads: the outline and what changed since, then the keys."""
        return (*self.for_control, self.keys, *self.stored_keys)

    def close(self) -> None:
        """Close the memory files."""
        for descriptor in (*self.for_workers, self.admin_identity, self.keyring):
            if descriptor is not None:
                os.close(descriptor)

    def with_whole(self, whole: Whole) -> Loaded:
        """The same state with one whole in place of the first changes; the result has files of its own."""
        rest, rest_of_keys = self.changes[whole.changes :], self.stored_keys[whole.stored_keys :]
        given = (self.keys, self.admin_identity, self.keyring, *rest, *rest_of_keys, *whole.files)
        fresh = _copies(given)
        return replace(
            self,
            outline=fresh[whole.outline],
            keys=fresh[self.keys],
            admin_identity=fresh.get(self.admin_identity),
            keyring=fresh.get(self.keyring),
            rows=[*whole.rows, *self.rows[whole.rows_before :]],
            changes=tuple(fresh[each] for each in rest),
            stored_keys=tuple(fresh[each] for each in (whole.keys, *rest_of_keys)),
            base=self.base if rest else None,
            has_new_keys=self.has_new_keys and bool(rest_of_keys),
            generation=self.generation + 1,
        )

    def changes_of(self, kind: str) -> list[str]:
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A write that the control process offers; its files are closed by whoever took them from the channel."""

    base: int
    """The version that it was made on; beside another it means nothing."""
    change: int
    """Memory file (outline_changes.py)."""
    stored_keys: int | None
    """Memory file: keys that are new."""
    rows: list[str]
    """Keys whose rows were asked for, and that were in no configuration before."""
    listeners: dict[str, Address]
    """Those that are new or have moved."""
    bases: Assigned
    """Of listeners that are new, or whose sessions must not be resumed any more."""
    gone: list[str]
    """Listeners that are no more."""

    @property
    def moves_sockets(self) -> bool:
        """Whether listeners come, go or move."""
        return bool(self.listeners or self.gone)

    def on(self, active: Loaded, version: int) -> Loaded:
        """Return what would be in service; it has memory files of its own."""
        new_keys = () if self.stored_keys is None else (self.stored_keys,)
        fresh = _copies([*active.for_workers, active.admin_identity, active.keyring, self.change, *new_keys])
        return replace(
            active,
            version=version,
            outline=fresh[active.outline],
            keys=fresh[active.keys],
            admin_identity=fresh.get(active.admin_identity),
            keyring=fresh.get(active.keyring),
            changes=tuple(fresh[each] for each in (*active.changes, self.change)),
            stored_keys=tuple(fresh[each] for each in (*active.stored_keys, *new_keys)),
            listeners=self._changed(active.listeners, self.listeners),
            bases=self._changed(active.bases, self.bases),
            rows=[*active.rows, *self.rows] if self.rows else active.rows,
            fresh_rows=False,
            warnings=[],
            plan=[],
            base=self.base,
            has_new_keys=self.stored_keys is not None,
        )

    def _changed(self, old: dict[str, _Value], put: Mapping[str, _Value]) -> dict[str, _Value]:
        if not put and not self.gone:
            return old
        return {key: value for key, value in {**old, **put}.items() if key not in self.gone}


@dataclass(frozen=True, slots=True)
class Whole:
    """One outline in place of many changes, so that their files can go (whole_job.py)."""

    made_of: tuple[int, int]
    """`loaded_as` and `generation` of what it was made of; beside another it means nothing."""
    changes: int
    """How many changes are in it."""
    stored_keys: int
    """How many files of keys."""
    rows_before: int
    """How many rows there were."""
    outline: int
    keys: int
    rows: list[str]

    @property
    def files(self) -> tuple[int, int]:
        """Both memory files."""
        return self.outline, self.keys


def _copies(descriptors: Iterable[int | None]) -> dict[int | None, int]:
    return {each: os.dup(each) for each in descriptors if each is not None}


def read_candidate(message: Message, files: Sequence[int]) -> Candidate:
    """Understand what the control process offers."""
    return Candidate(
        base=message["base"],
        change=files[0],
        stored_keys=files[1] if len(files) > 1 else None,
        rows=message["rows"],
        listeners=_listeners(message["listeners"]),
        bases=_bases(message["bases"]),
        gone=message["gone"],
    )


def _listeners(told: dict[str, list[Any]]) -> dict[str, Address]:
    return {key: (address, port) for key, (address, port) in told.items()}


def _bases(told: dict[str, list[Any]]) -> dict[str, tuple[int, str]]:
    return {key: (place, fingerprint) for key, (place, fingerprint) in told.items()}


def read_answer(message: Message, files: Sequence[int]) -> Loaded | NotLoaded:
    """Understand what the loader sent; its files are the result's from now on."""
    if message["type"] == "refused":
        return NotLoaded(message["kind"], message["faults"], message["warnings"])
    node = message["node"]
    given = dict(zip(message["files"], files, strict=True))
    return Loaded(
        version=message["version"],
        outline=given["outline"],
        keys=given["keys"],
        admin_identity=given.get("admin"),
        node=NodeFacts(
            state_dir=Path(node["state_dir"]),
            user=node["user"],
            workers=node["workers"],
            drain_timeout=node["drain_timeout"],
            watch=node["watch"],
            access_log=Path(node["access_log"]) if node["access_log"] else None,
            admin=(node["admin"][0], node["admin"][1]),
        ),
        listeners=_listeners(message["listeners"]),
        bases=_bases(message["bases"]),
        rows=message["rows"],
        fresh_rows=message["fresh_rows"],
        warnings=message["warnings"],
        watched=[Path(name) for name in message["watched"]],
        plan=message["plan"],
        stored_keys=(given["stored_keys"],) if "stored_keys" in given else (),
        keyring=given.get("keyring"),
        loaded_as=message["version"],
    )
