"""Load balancers, listeners, rules and targets by their ids, whoever owns them.

Owns:      one view of the file's objects and the store's; ids of the file's; which are below which; their order.
Elsewhere: the form of answers (object_answers.py); what a write to one is (object_drafts.py).
Pure:      an outline and an inventory in, values out.

The objects of a file have no records, so their ids follow from their names: `file-shop`, `file-shop~https`, and below
those a digest of what is no name. An id lasts as long as the name does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Literal

from clb.config.document_of import document_of
from clb.config.models import Listener, LoadBalancer, Rule, Target
from clb.metering.cells import listener_key, rule_key, target_key
from clb.service.bundle import Outline
from clb.service.merging import effective_weight
from clb.service.stored_models import is_draining
from clb.store.inventory import Entry, Inventory, Kind, Override

FILE_ID: Final = "file-"
"""Begins the ids of objects that the configuration file owns."""
CHILD: Final[Mapping[Kind, Kind]] = {
    Kind.LOAD_BALANCER: Kind.LISTENER,
    Kind.LISTENER: Kind.RULE,
    Kind.RULE: Kind.TARGET,
}
CHILDREN_KEY: Final[Mapping[Kind, str]] = {
    Kind.LOAD_BALANCER: "listeners",
    Kind.LISTENER: "rules",
    Kind.RULE: "targets",
}
"""The key of a configuration file that holds what is below an object."""
WORDS: Final[Mapping[Kind, str]] = {kind: kind.value.replace("_", " ") for kind in Kind}
DEFAULT_WEIGHT: Final[int] = Target.model_fields["weight"].default
_KINDS: Final = tuple(Kind)
_Model = LoadBalancer | Listener | Rule | Target


@dataclass(frozen=True, slots=True)
class Thing:
    """A load balancer, listener, rule or target."""

    id: str
    kind: Kind
    parent: str | None
    """Id of what it belongs to."""
    names: tuple[str, ...]
    """Natural keys from the load balancer down to itself: `("shop", "https", "shop.example.com /", "10.0.0.5:80")`."""
    ids: tuple[str, ...]
    """Ids of the same."""
    owner: Literal["api", "file"]
    document: Mapping[str, Any]
    """As in a configuration file, without what is below it; of a target with the weight in force."""
    version: int
    draining: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None
    override: Override | None = None
    """What the API changed of a target of the file."""

    @property
    def where(self) -> str:
        """As it is named to people."""
        return ", ".join(f"{WORDS[kind]} {name}" for kind, name in zip(_KINDS, self.names, strict=False))

    @property
    def key(self) -> str:
        """Its name in the tables of state and counters; of a load balancer just its name."""
        return row_key(self.names)


def row_key(names: Sequence[str]) -> str:
    """Spell natural keys as metering/cells.py does."""
    if len(names) == 1:
        return names[0]
    if len(names) == 2:
        return listener_key(names[0], names[1])
    domain, _, url = names[2].partition(" ")
    rule = rule_key(names[0], names[1], domain, url)
    return rule if len(names) == 3 else target_key(rule, names[3])


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything at one moment."""

    outline: Outline
    inventory: Inventory

    def find(self, thing_id: str, kind: Kind) -> Thing | None:
        """The object of this id, if it is of this kind."""
        entry = self.inventory.entries.get(thing_id)
        if entry is not None:
            return self._stored(entry) if entry.kind is kind else None
        if not thing_id.startswith(FILE_ID):
            return None
        found = self._of_file().get(thing_id)
        return self._owned_by_file(found) if found is not None and found.kind is kind else None

    def iterate(self, kind: Kind) -> Iterator[Thing]:
        """Every one of a kind, in no order."""
        yield from (self._owned_by_file(each) for each in self._of_file().values() if each.kind is kind)
        yield from (self._stored(entry) for entry in self.inventory.entries.values() if entry.kind is kind)

    def below(self, above: Thing) -> list[Thing]:
        """What belongs to an object directly, by name."""
        if above.owner == "api":
            found = [self._stored(entry) for entry in self.inventory.of_parent(above.id)]
        else:
            index = self._of_file()
            found = [self._owned_by_file(index[each]) for each in index[above.id].below]
        return sorted(found, key=lambda thing: thing.names)

    def within(self, above: Thing, kind: Kind) -> list[Thing]:
        """Every one of a kind at any depth below an object, by name."""
        found = self.below(above)
        while found and found[0].kind is not kind:
            found = [below for each in found for below in self.below(each)]
        return found

    def count_below(self, thing: Thing) -> int:
        """How many belong to an object directly."""
        if thing.owner == "api":
            return len(self.inventory.children.get(thing.id, ()))
        return len(self._of_file()[thing.id].below)

    def names_in_file(self) -> frozenset[str]:
        """Names of the file's load balancers."""
        return frozenset(each.name for each in self.outline.config.load_balancers if each.stored is None)

    def _stored(self, entry: Entry) -> Thing:
        names, ids = [entry.key], [entry.id]
        above = entry.parent
        while above is not None:
            found = self.inventory.entries[above]
            names.append(found.key)
            ids.append(found.id)
            above = found.parent
        draining = entry.kind is Kind.TARGET and is_draining(entry.document)
        document = {key: value for key, value in entry.document.items() if key != "draining"}
        return Thing(
            id=entry.id,
            kind=entry.kind,
            parent=entry.parent,
            names=tuple(reversed(names)),
            ids=tuple(reversed(ids)),
            owner="api",
            document=document,
            version=entry.version,
            draining=draining,
            created_at=entry.created_at,
            updated_at=entry.updated_at,
        )

    def _of_file(self) -> Mapping[str, _FileThing]:
        return _indexed(_ByIdentity(tuple(each for each in self.outline.config.load_balancers if each.stored is None)))

    def _owned_by_file(self, found: _FileThing) -> Thing:
        document = _own_document(found.model)
        override = self.inventory.overrides.get(row_key(found.names)) if found.kind is Kind.TARGET else None
        if override is not None:
            own = self.file_weight(found.names, int(document.get("weight", DEFAULT_WEIGHT)))
            if override.file_weight != own:
                # The file's own weight is another since: what is left of it is the version.
                override = replace(override, weight=None, draining=False, file_weight=own)
            document["weight"] = effective_weight(override)
        return Thing(
            id=found.id,
            kind=found.kind,
            parent=found.ids[-2] if len(found.ids) > 1 else None,
            names=found.names,
            ids=found.ids,
            owner="file",
            document=document,
            version=override.version if override is not None else 0,
            draining=override is not None and override.draining,
            updated_at=override.updated_at if override is not None else None,
            override=override,
        )

    def file_weight(self, names: Sequence[str], in_service: int) -> int:
        """What the file says of a target's weight, whatever is in service."""
        override = self.outline.overrides.get(row_key(names))
        return override.file_weight if override is not None else in_service


def _own_document(model: _Model) -> dict[str, Any]:
    document = document_of(model)
    for key in CHILDREN_KEY.values():
        document.pop(key, None)
    return document


# --- the file's objects ---


@dataclass(frozen=True, slots=True)
class _FileThing:
    id: str
    kind: Kind
    names: tuple[str, ...]
    ids: tuple[str, ...]
    model: _Model
    below: tuple[str, ...]


class _ByIdentity:
    """Load balancers as a key: the same objects are the same key, and looking takes no time."""

    def __init__(self, balancers: tuple[LoadBalancer, ...]) -> None:
        self.balancers = balancers
        self._ids = tuple(map(id, balancers))

    def __hash__(self) -> int:
        return hash(self._ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self._ids == other._ids


@lru_cache(maxsize=1)
def _indexed(balancers: _ByIdentity) -> Mapping[str, _FileThing]:
    found: dict[str, _FileThing] = {}
    for balancer in balancers.balancers:
        for thing in _walked(balancer, balancer.name, (), ()):
            found[thing.id] = thing
    return found


def _walked(model: _Model, key: str, names: tuple[str, ...], ids: tuple[str, ...]) -> Iterator[_FileThing]:
    names = (*names, key)
    kind = _KINDS[len(names) - 1]
    ids = (*ids, _file_id(names, ids))
    below = [(each, _natural_key(each)) for each in _children(model)]
    yield _FileThing(ids[-1], kind, names, ids, model, tuple(_file_id((*names, each), ids) for _, each in below))
    for child, child_key in below:
        yield from _walked(child, child_key, names, ids)


def _children(model: _Model) -> Sequence[_Model]:
    if isinstance(model, LoadBalancer):
        return model.listeners
    if isinstance(model, Listener):
        return model.rules
    return model.targets if isinstance(model, Rule) else ()


def _natural_key(model: _Model) -> str:
    if isinstance(model, Rule):
        return f"{model.domain} {model.url}"
    return model.identity if isinstance(model, Target) else model.name


def _file_id(names: tuple[str, ...], above: tuple[str, ...]) -> str:
    if len(names) == 1:
        return f"{FILE_ID}{names[0]}"
    own = names[-1] if len(names) == 2 else sha256(names[-1].encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{above[-1]}~{own}"
