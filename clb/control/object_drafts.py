"""Decide what a write to a load balancer, listener, rule or target is, on whichever inventory it comes to.

Owns:      creation with all that is below, replacement, merging (RFC 7396) and removal, as pure decisions.
Elsewhere: checks of documents (config/fragments.py); what all of them say together, and the workers (writer.py);
           several targets at once and the file's (target_drafts.py); the routes (object_routes.py, target_routes.py).
Pure:      a catalogue and documents in, a draft or an ApiFault out. Randomness is that of new ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from clb.config.faults import Path, Problem, said
from clb.config.fragments import (
    check_listener,
    check_load_balancer,
    check_rule,
    check_target,
    parse_listener,
    parse_rule,
)
from clb.config.models import Target
from clb.control.catalogue import CHILD, CHILDREN_KEY, Catalogue, Thing
from clb.control.object_faults import name_taken, not_empty, not_found, owned_by_file, too_many, unsound
from clb.control.object_models import MOST_OBJECTS
from clb.service.stored_models import target_in_force
from clb.store.inventory import PREFIXES, Entry, Inventory, Kind, Write, new_id

Document = Mapping[str, Any]
_DEEPEST: Final = 8
"""Of a merge patch; no document has more levels."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A write, and what is to be told of it."""

    write: Write
    before: Thing | None
    after_id: str | None
    """Of the object that was asked for; None if it is gone."""
    warnings: tuple[Problem, ...] = ()


def find(catalogue: Catalogue, thing_id: str, kind: Kind) -> Thing:
    """Any object, whoever owns it.

    Raises:
        ApiFault: there is none.
    """
    found = catalogue.find(thing_id, kind)
    if found is None:
        raise not_found(kind)
    return found


def find_own(catalogue: Catalogue, thing_id: str, kind: Kind) -> Thing:
    """One that the API may change.

    Raises:
        ApiFault: there is none, or a file owns it.
    """
    found = find(catalogue, thing_id, kind)
    if found.owner == "file":
        raise owned_by_file(found)
    return found


def create(catalogue: Catalogue, parent: Thing | None, document: Document, now: datetime) -> Outcome:
    """Make an object and all that is below it.

    Raises:
        ApiFault: a document is not sound, or a sibling has its name.
    """
    kind = CHILD[parent.kind] if parent is not None else Kind.LOAD_BALANCER
    making = _Making(catalogue.inventory, now)
    above = catalogue.inventory.entries[parent.id] if parent is not None else None
    made = making.make(kind, above, document, (), next_position(catalogue.inventory, parent))
    making.settle()
    refuse_taken(catalogue, kind, parent.id if parent is not None else None, made.key)
    return Outcome(Write(entries=tuple(making.entries)), None, made.id, tuple(making.warnings))


def change(catalogue: Catalogue, thing: Thing, document: Document, now: datetime) -> Outcome:
    """Put another document in its place; what is below stays.

    Raises:
        ApiFault: the document is not sound, or a sibling has the name.
    """
    inventory = catalogue.inventory
    entry = inventory.entries[thing.id]
    problems = check(inventory, thing.kind, entry.parent, document, thing.id)
    refuse_faults(problems)
    key, document = named(inventory, thing.kind, entry.parent, document)
    if key != entry.key:
        refuse_taken(catalogue, thing.kind, entry.parent, key)
    if entry.document.get("draining"):
        document = {**document, "draining": True}
    warnings = tuple(each for each in problems if each.is_warning)
    if document == entry.document:
        return Outcome(Write(), thing, thing.id, warnings)
    after = replace(entry, key=key, document=document, version=entry.version + 1, updated_at=now)
    return Outcome(Write(entries=(after,)), thing, thing.id, warnings)


def merge(catalogue: Catalogue, thing: Thing, patch: Document, now: datetime) -> Outcome:
    """Change some keys (JSON merge patch, RFC 7396): null removes one, a mapping is merged, all else is replaced.

    Raises:
        ApiFault: as `change` does.
    """
    return change(catalogue, thing, merged(thing.document, patch), now)


def remove(catalogue: Catalogue, thing: Thing, *, cascade: bool) -> Outcome:
    """Remove it and, with `cascade` or if it is a rule, all that is below it.

    Raises:
        ApiFault: there is something below it.
    """
    inventory = catalogue.inventory
    below = inventory.below(thing.id)
    if len(below) > 1 and not cascade and thing.kind is not Kind.RULE:
        raise not_empty(thing, len(below) - 1)
    return Outcome(Write(removed=below), thing, None)


def merged(document: Any, patch: Any, depth: int = 0) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping) or depth > _DEEPEST:
        return patch
    result = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, depth + 1)
    return result


# --- parts ---


def check(inventory: Inventory, kind: Kind, parent: str | None, document: Document, own_id: str = "") -> list[Problem]:
    """Every problem of one object's own keys, among those that are above and below it."""
    if kind is Kind.LOAD_BALANCER:
        return _named_at_all(document) + check_load_balancer(document)
    if kind is Kind.LISTENER:
        return check_listener(document)
    if kind is Kind.RULE:
        targets = [target_in_force(each.document) for each in inventory.of_parent(own_id)] if own_id else []
        return check_rule(document, inventory.entries[parent or ""].document, targets)
    return _no_drain(document) + check_target(document)


def _named_at_all(document: Document) -> list[Problem]:
    # In a file the position is a name where there is none; here is no position.
    return [] if document.get("name") is not None else [Problem(("name",), "is missing; every load balancer has one")]


def _no_drain(document: Document) -> list[Problem]:
    return [Problem(("draining",), "is no key; POST .../drain does it", "key")] if "draining" in document else []


def refuse_faults(problems: list[Problem]) -> None:
    """Raise what stands in the way; warnings do not."""
    faults = [each for each in problems if not each.is_warning]
    if faults:
        raise unsound(faults)


def named(inventory: Inventory, kind: Kind, parent: str | None, document: Document) -> tuple[str, Document]:
    """The natural key of a sound document, and the document with the name that it goes by."""
    if kind is Kind.LOAD_BALANCER:
        return str(document["name"]), document
    if kind is Kind.LISTENER:
        name = parse_listener(document).name
        return name, {**document, "name": name}
    if kind is Kind.RULE:
        rule = parse_rule(document, inventory.entries[parent or ""].document if parent else {}, ())
        return f"{rule.domain} {rule.url}", document
    return Target.model_validate(document).identity, document


def refuse_taken(catalogue: Catalogue, kind: Kind, parent: str | None, key: str) -> None:
    """Raise if a sibling has this natural key; of load balancers, also one of the file."""
    taken = catalogue.inventory.named(kind, parent, key)
    if taken is not None:
        raise name_taken(kind, key, taken.id)
    if kind is Kind.LOAD_BALANCER and key in catalogue.names_in_file():
        raise name_taken(kind, key, "of the configuration file")


def next_position(inventory: Inventory, parent: Thing | None) -> int:
    """Behind all siblings."""
    siblings = inventory.of_parent(parent.id if parent is not None else None)
    return siblings[-1].position + 1 if siblings else 0


def new_entry(kind: Kind, parent: str | None, position: int, key: str, document: Document, now: datetime) -> Entry:
    """An entry that was never there."""
    return Entry(new_id(PREFIXES[kind]), kind, parent, position, key, document, 1, now, now)


@dataclass(slots=True)
class _Making:
    """One tree of documents becomes entries."""

    inventory: Inventory
    now: datetime
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    count: int = 0

    def make(self, kind: Kind, above: Entry | None, document: Document, path: Path, position: int) -> Entry:
        """Make one and what is below it; with problems, entries of no worth are made and the problems kept."""
        self.count += 1
        children = CHILDREN_KEY.get(kind)
        own: Document = {key: value for key, value in document.items() if key != children}
        below = self._below(document, children, path) if children is not None else []
        found = self._checked(kind, above, own, [each for _, each in below])
        self.problems += [_moved(each, path) for each in found if not each.is_warning]
        self.warnings += [_moved(each, path) for each in found if each.is_warning]
        key = ""
        if not any(not each.is_warning for each in found):
            key, own = self._named(kind, above, own)
        entry = new_entry(kind, above.id if above is not None else None, position, key, own, self.now)
        self.entries.append(entry)
        seen: dict[str, int] = {}
        for number, each in below:
            if self.count >= MOST_OBJECTS:
                self.count += 1
                continue
            at = (*path, children or "", number)
            made = self.make(CHILD[kind], entry, each, at, number)
            if made.key and made.key in seen:
                first = f"{children}[{seen[made.key]}]"
                self.problems.append(Problem(at, f"is the same {made.kind.value} as {first}: {made.key}"))
            seen.setdefault(made.key, number)
        return entry

    def settle(self) -> None:
        """Raise what was found."""
        if self.count > MOST_OBJECTS:
            raise too_many(self.count, MOST_OBJECTS)
        if self.problems:
            raise unsound(self.problems)

    def _below(self, document: Document, key: str | None, path: Path) -> list[tuple[int, Document]]:
        if (key or "") not in document:
            return []
        given = document[key or ""]
        if not isinstance(given, list | tuple):
            self.problems.append(Problem((*path, key or ""), f"{said(given)}; write a list"))
            return []
        found = []
        for number, each in enumerate(given):
            if isinstance(each, Mapping):
                found.append((number, each))
            else:
                self.problems.append(Problem((*path, key or "", number), f"{said(each)}; write a mapping"))
        return found

    def _checked(self, kind: Kind, above: Entry | None, own: Document, below: list[Document]) -> list[Problem]:
        if kind is Kind.RULE:
            # Its targets are judged one by one, with their own paths.
            problems = check_rule(own, above.document if above is not None else {}, below)
            return [each for each in problems if each.path[:1] != ("targets",) or len(each.path) == 1]
        if kind is Kind.TARGET:
            return _no_drain(own) + check_target(own)
        return check(self.inventory, kind, None, own)

    def _named(self, kind: Kind, above: Entry | None, own: Document) -> tuple[str, Document]:
        if kind is Kind.RULE:
            rule = parse_rule(own, above.document if above is not None else {}, ())
            return f"{rule.domain} {rule.url}", own
        return named(self.inventory, kind, None, own)


def _moved(problem: Problem, path: Path) -> Problem:
    return replace(problem, path=(*path, *problem.path))
