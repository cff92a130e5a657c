"""All that was made through the management API, at one revision, and what a write changes of it.

Owns:      the records of the store as frozen values, their order, and taking a write to the next inventory.
Elsewhere: keeping them (database.py); what a document means (config/); who may write (control/).
Pure:      values in, values out. An inventory never changes: a write makes another that shares what stayed.

The shape of load balancers, listeners, rules and targets is the configuration contract's; the store knows only their
tree, their natural keys and their versions. So a new key of the configuration needs no migration.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""What people can read out to each other: no l, o, 0 and 1."""
_ID_LENGTH: Final = 12


class Kind(StrEnum):
    """What an entry is; the value is also the word in paths of audit records and events."""

    LOAD_BALANCER = "load_balancer"
    LISTENER = "listener"
    RULE = "rule"
    TARGET = "target"


PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {Kind.LOAD_BALANCER: "lb", Kind.LISTENER: "lst", Kind.RULE: "rule", Kind.TARGET: "tgt"}
)
CERTIFICATE_PREFIX: Final = "cert"
TOKEN_PREFIX: Final = "tok"  # noqa: S105 - of ids


def new_id(prefix: str) -> str:
    """Make an id that was never used: `prefix-` and sixty random bits."""
    return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A load balancer, listener, rule or target."""

    id: str
    kind: Kind
    parent: str | None
    """Id of the entry that it belongs to; None of a load balancer."""
    position: int
    """Order among its siblings; gaps are allowed."""
    key: str
    """What no sibling has as well: the name; of a rule "domain url" with one space; of a target "address:port"."""
    document: Mapping[str, Any]
    """As in a configuration file, without `listeners`, `rules` or `targets` below it."""
    version: int
    """Counts up with each write to this entry, from 1: its ETag."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A private key at rest (certificates/keyring.py): useless without the keyring."""

    key_id: str
    """Which key-encryption key wraps the data key."""
    wrapped: bytes = field(repr=False)
    """Nonce, encrypted data key and tag."""
    sealed: bytes = field(repr=False)
    """Nonce, encrypted PKCS#8 and tag."""


@dataclass(frozen=True, slots=True)
class Material:
    """What one generation of a certificate consists of."""

    chain_pem: str = field(repr=False)
    """Leaf first; of a CA, its certificates."""
    sealed_key: SealedKey | None = field(repr=False)
    """None of a CA."""
    fingerprint: str
    """SHA-256 of the leaf, lower case hexadecimal; of a CA, of its certificates one after another."""
    key_digest: str
    """Of the leaf's public key (`certificates.reading.key_digest`): which private key it needs."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with what it was before its last replacement."""

    id: str
    name: str
    type: Literal["server", "ca"]
    material: Material
    previous: Material | None
    """What `rollback` goes back to."""
    generation: int
    """Counts replacements and rollbacks, from 1; bound into the encryption of its key."""
    previous_generation: int | None
    forced: bool
    """Uploaded although it was expired or not yet valid."""
    version: int
    created_at: datetime
    updated_at: datetime
    replaced_at: datetime | None = None
    notified_days: int | None = None
    """The last of 30, 14, 7, 3, 1, 0 that was told of this generation; None: none yet."""


@dataclass(frozen=True, slots=True)
class Override:
    """What the API changed of a target that a file owns; it lasts until the file's own weight changes."""

    target: str
    """`metering.cells.target_key`."""
    weight: int | None
    draining: bool
    file_weight: int
    """The file's value at that time."""
    version: int
    updated_at: datetime


class Role(StrEnum):
    """What a token allows; each can what the one before can."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A credential of the management API; the secret itself is nowhere."""

    id: str
    name: str
    role: Role
    digest: bytes = field(repr=False)
    """SHA-256 of the secret, which has 256 random bits: no salt and no stretching is needed."""
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    version: int

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what; secrets are left out before it is made."""

    at: datetime
    actor: str
    """`token:NAME (ID)`, `uid:0 (control socket)` or `clb` for what it does by itself."""
    action: str
    """Such as `load_balancer.create`, `certificate.replace`, `token.revoke`."""
    subject: str
    """Id and name of what was changed."""
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    request_id: str
    outcome: str = "done"


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer to a request with an Idempotency-Key, kept so that it can be given once more."""

    key: str
    """As the client sent it, behind the actor: no client sees another's."""
    request_digest: str
    status: int
    body: str
    """JSON, without secrets."""
    headers: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Write:
    """One change, whole: it takes place in one transaction or not at all."""

    entries: tuple[Entry, ...] = ()
    """New or changed ones, as they are to be."""
    removed: frozenset[str] = frozenset()
    """Ids of entries that go, all below them included (`Inventory.below`)."""
    certificates: tuple[Certificate, ...] = ()
    removed_certificates: frozenset[str] = frozenset()
    overrides: tuple[Override, ...] = ()
    removed_overrides: frozenset[str] = frozenset()
    tokens: tuple[Token, ...] = ()
    audit: tuple[AuditRecord, ...] = ()
    replay: Replay | None = None

    @property
    def changes_something(self) -> bool:
        """Whether the next inventory differs."""
        return bool(
            self.entries
            or self.removed
            or self.certificates
            or self.removed_certificates
            or self.overrides
            or self.removed_overrides
            or self.tokens
        )


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything at one revision."""

    revision: int = 0
    """Counts up with each write of any node."""
    entries: Mapping[str, Entry] = field(default_factory=_nothing)
    """By id."""
    certificates: Mapping[str, Certificate] = field(default_factory=_nothing)
    """By id."""
    overrides: Mapping[str, Override] = field(default_factory=_nothing)
    """By target key."""
    tokens: Mapping[str, Token] = field(default_factory=_nothing)
    """By id; revoked and expired ones among them."""
    children: Mapping[str | None, tuple[str, ...]] = field(default_factory=_nothing)
    """Ids of the entries below another, in order; None has the load balancers."""
    changed: tuple[Mapping[str, Entry], frozenset[str]] | None = field(default=None, repr=False, compare=False)
    """The entries of the inventory that a write made this one of, and the ids that it wrote or removed."""

    @classmethod
    def of(
        cls,
        revision: int,
        entries: Iterable[Entry],
        certificates: Iterable[Certificate] = (),
        overrides: Iterable[Override] = (),
        tokens: Iterable[Token] = (),
    ) -> Inventory:
        """Put records together, in whatever order they come."""
        by_id = {entry.id: entry for entry in entries}
        return cls(
            revision,
            by_id,
            {each.id: each for each in certificates},
            {each.target: each for each in overrides},
            {each.id: each for each in tokens},
            _order(by_id, {entry.parent for entry in by_id.values()}),
        )

    def below(self, entry: str) -> frozenset[str]:
        """Return the ids of an entry and of everything below it."""
        found, waiting = {entry}, [entry]
        while waiting:
            children = self.children.get(waiting.pop(), ())
            found.update(children)
            waiting += children
        return frozenset(found)

    def of_parent(self, parent: str | None) -> tuple[Entry, ...]:
        """Return the entries below another, in order."""
        return tuple(self.entries[each] for each in self.children.get(parent, ()))

    def named(self, kind: Kind, parent: str | None, key: str) -> Entry | None:
        """Find an entry by its natural key."""
        return next((each for each in self.of_parent(parent) if each.kind is kind and each.key == key), None)

    def certificate_named(self, name: str) -> Certificate | None:
        """Find a certificate by its name."""
        return next((each for each in self.certificates.values() if each.name == name), None)

    def sharing(self, other: Inventory) -> Inventory:
        """The same with the objects of another one, where its records are the same: so that a look finds them equal.

        A version is counted up with each write of a record, so it need not be looked at whole.
        """
        return replace(
            self,
            entries={each: _shared(entry, other.entries.get(each)) for each, entry in self.entries.items()},
            certificates={each: _shared(one, other.certificates.get(each)) for each, one in self.certificates.items()},
        )

    def after(self, write: Write, revision: int | None = None) -> Inventory:
        """Return what is there once the write has taken place."""
        entries = _changed(self.entries, write.removed, {each.id: each for each in write.entries})
        touched = {each.parent for each in write.entries}
        touched |= {self.entries[each].parent for each in write.removed if each in self.entries}
        touched |= {self.entries[each.id].parent for each in write.entries if each.id in self.entries}
        children = dict(self.children)
        for gone in write.removed:
            children.pop(gone, None)
        if touched:
            children.update(_order(entries, touched - write.removed))
        return replace(
            self,
            revision=self.revision + 1 if revision is None else revision,
            entries=entries,
            certificates=_changed(
                self.certificates, write.removed_certificates, {each.id: each for each in write.certificates}
            ),
            overrides=_changed(
                self.overrides, write.removed_overrides, {each.target: each for each in write.overrides}
            ),
            tokens=_changed(self.tokens, frozenset(), {each.id: each for each in write.tokens}),
            children=children,
            changed=(self.entries, write.removed.union(each.id for each in write.entries)),
        )


_Record = TypeVar("_Record", Entry, Certificate)


def _shared(record: _Record, known: _Record | None) -> _Record:
    if known is None or (known.version, known.updated_at) != (record.version, record.updated_at):
        return record
    return known if known == record else record


def _changed(before: Mapping[str, Any], removed: frozenset[str], put: Mapping[str, Any]) -> Mapping[str, Any]:
    if not removed and not put:
        return before
    after = {**before, **put}
    for each in removed:
        after.pop(each, None)
    return after


def _order(entries: Mapping[str, Entry], parents: set[str | None]) -> dict[str | None, tuple[str, ...]]:
    """Return the children of some parents, sorted by position and then by age."""
    found: dict[str | None, list[Entry]] = {parent: [] for parent in parents}
    for entry in entries.values():
        if entry.parent in found:
            found[entry.parent].append(entry)
    return {
        parent: tuple(each.id for each in sorted(children, key=lambda each: (each.position, each.created_at, each.id)))
        for parent, children in found.items()
    }
