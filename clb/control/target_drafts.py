"""Decide what a write to targets is: several of a rule at once, drains, and what may be changed of the file's.

Owns:      registering, deregistering, weights, drain and its end; overrides of the file's targets.
Elsewhere: one target by its document (object_drafts.py); what an override does (service/merging.py).
Pure:      a catalogue and a request in, a draft or an ApiFault out.

A target that drains keeps its weight for afterwards, and takes no new work until then; what it works on goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clb.config.faults import Problem, did_you_mean, quote
from clb.config.fragments import check_target
from clb.config.models import Target
from clb.control.catalogue import DEFAULT_WEIGHT, Catalogue, Thing
from clb.control.object_drafts import Document, Outcome, find_own, merge, new_entry, refuse_faults
from clb.control.object_faults import no_such_target, owned_by_file, unsound
from clb.store.inventory import Entry, Inventory, Kind, Override, Write


@dataclass(frozen=True, slots=True)
class Several:
    """A write to targets of one rule, and what becomes of each."""

    write: Write
    registered: tuple[Entry, ...] = ()
    changed: tuple[Entry, ...] = ()
    deregistered: tuple[Entry, ...] = ()
    unchanged: int = 0


def register(
    catalogue: Catalogue, rule: Thing, documents: Sequence[Document], now: datetime, *, only: bool = False
) -> Several:
    """Have these targets in a rule, with these weights and taking work; with `only`, no others.

    Raises:
        ApiFault: a document is not sound, or two are the same target.
    """
    inventory = catalogue.inventory
    wanted = _sound(documents)
    known = _known(inventory, rule)
    registered, changed = [], []
    position = max((each.position for each in known.values()), default=-1) + 1
    for key, document in wanted.items():
        if key not in known:
            registered.append(new_entry(Kind.TARGET, rule.id, position, key, document, now))
            position += 1
        elif known[key].document != document:
            changed.append(_after(known[key], document, now))
    gone = [each for key, each in known.items() if key not in wanted] if only else []
    return _several(registered, changed, gone, len(wanted))


def deregister(catalogue: Catalogue, rule: Thing, names: Iterable[tuple[str, int]]) -> Several:
    """Have these targets in a rule no more; what they work on goes on until `node.drain_timeout`.

    Raises:
        ApiFault: some are none of its targets.
    """
    found = _named(catalogue.inventory, rule, names)
    return _several([], [], list(found.values()), 0)


def weigh(catalogue: Catalogue, rule: Thing, weights: Mapping[tuple[str, int], int], now: datetime) -> Several:
    """Give targets of a rule other weights; one that drains goes on draining.

    Raises:
        ApiFault: some are none of its targets.
    """
    found = _named(catalogue.inventory, rule, weights)
    changed = []
    for name, entry in found.items():
        document = {**entry.document, "weight": weights[name]}
        if document != entry.document and weights[name] != entry.document.get("weight", DEFAULT_WEIGHT):
            changed.append(_after(entry, document, now))
    return _several([], changed, [], len(found))


def drain(catalogue: Catalogue, target: Thing, now: datetime, *, on: bool) -> Outcome:
    """Take a target out of work, or back."""
    if target.owner == "file":
        return _override(catalogue, target, now, weight=_overridden_weight(target), draining=on)
    entry = catalogue.inventory.entries[target.id]
    document = {key: value for key, value in entry.document.items() if key != "draining"}
    if on:
        document["draining"] = True
    if document == entry.document:
        return Outcome(Write(), target, target.id)
    return Outcome(Write(entries=(_after(entry, document, now),)), target, target.id)


def merge_target(catalogue: Catalogue, target: Thing, patch: Document, now: datetime) -> Outcome:
    """Change some keys of a target; of one that the file owns its weight, and null goes back to the file's.

    Raises:
        ApiFault: the outcome is not sound, or the file owns what would change.
    """
    if target.owner == "api":
        return merge(catalogue, find_own(catalogue, target.id, Kind.TARGET), patch, now)
    if set(patch) - {"weight"}:
        raise owned_by_file(target)
    weight = patch.get("weight", _overridden_weight(target))
    if weight is not None:
        refuse_faults(
            [each for each in check_target({**target.document, "weight": weight}) if each.path == ("weight",)]
        )
    return _override(catalogue, target, now, weight=weight, draining=target.draining)


# --- parts ---


def _override(
    catalogue: Catalogue, target: Thing, now: datetime, *, weight: int | None, draining: bool
) -> Outcome:  # fmt: skip
    known = target.override
    in_service = int(target.document.get("weight", DEFAULT_WEIGHT))
    file_weight = known.file_weight if known is not None else catalogue.file_weight(target.names, in_service)
    if (weight, draining) == (_overridden_weight(target), target.draining):
        return Outcome(Write(), target, target.id)
    # It stays when it changes nothing any more: its version counts on.
    after = Override(target.key, weight, draining, file_weight, target.version + 1, now)
    return Outcome(Write(overrides=(after,)), target, target.id)


def _overridden_weight(target: Thing) -> int | None:
    return target.override.weight if target.override is not None else None


def _sound(documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    problems, wanted = [], {}
    for number, document in enumerate(documents):
        found = [
            *([Problem(("draining",), "is no key here; POST .../drain does it")] if "draining" in document else []),
            *check_target(document),
        ]
        problems += [replace(each, path=("targets", number, *each.path)) for each in found if not each.is_warning]
        if not found:
            key = Target.model_validate(document).identity
            if key in wanted:
                problems.append(Problem(("targets", number), f"{quote(key)} is in the list twice"))
            wanted[key] = dict(document)
    if problems:
        raise unsound(problems)
    return wanted


def _known(inventory: Inventory, rule: Thing) -> dict[str, Entry]:
    return {each.key: each for each in inventory.of_parent(rule.id)}


def _named(
    inventory: Inventory, rule: Thing, names: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Entry]:  # fmt: skip
    known = _known(inventory, rule)
    spelled = {name: f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}" for name in names}
    missing = [each for each in spelled.values() if each not in known]
    if missing:
        meant = [did_you_mean(each, list(known)) for each in missing[:5]]
        hints = [f"{each} (did you mean {near}?)" if near else each for each, near in zip(missing, meant, strict=False)]
        raise no_such_target(rule.where, [*hints, *missing[5:]])
    return {name: known[each] for name, each in spelled.items()}


def _after(entry: Entry, document: Document, now: datetime) -> Entry:
    return replace(entry, document=document, version=entry.version + 1, updated_at=now)


def _several(registered: list[Entry], changed: list[Entry], gone: list[Entry], wanted: int) -> Several:
    write = Write(entries=(*registered, *changed), removed=frozenset(each.id for each in gone))
    unchanged = max(0, wanted - len(registered) - len(changed))
    return Several(write, tuple(registered), tuple(changed), tuple(gone), unchanged)
