"""Why a load balancer, listener, rule or target cannot be written: each with its code and what to do.

Owns:      the words.
Elsewhere: when it is so (object_drafts.py, target_drafts.py).
Pure:      values in, a fault out.
"""

from __future__ import annotations

from collections.abc import Iterable

from clb.config import faults
from clb.control.catalogue import WORDS, Thing
from clb.control.problems import ApiFault, FieldProblem
from clb.store.inventory import Kind

PATHS = {kind: f"/v1/{kind.value.replace('_', '-')}s" for kind in Kind}
"""Of the collections."""


def not_found(kind: Kind) -> ApiFault:
    """There is none with this id."""
    return ApiFault(404, "not_found", f"there is no {WORDS[kind]} with this id; GET {PATHS[kind]} lists them")


def no_such_target(where: str, names: Iterable[str]) -> ApiFault:
    """Some targets that are named are none of the rule."""
    lines = [FieldProblem("is no target of this rule", where, name) for name in names]
    return ApiFault(404, "target_not_found", "nothing was changed: some of these are no targets of the rule", lines)


def owned_by_file(thing: Thing) -> ApiFault:
    """It is the configuration file's."""
    more = "; weight and drain of its targets can be changed here" if thing.kind is not Kind.TARGET else ""
    if thing.kind is Kind.TARGET:
        more = "; here only its weight and drain can be changed"
    message = f"the configuration file owns {thing.where}: change it there and reload{more}"
    return ApiFault(409, "owned_by_file", message)


def name_taken(kind: Kind, key: str, by: str) -> ApiFault:
    """A sibling has this name, or the same domain and URL, or the same address and port."""
    message = f"there is a {WORDS[kind]} {faults.quote(key)} already ({by}); choose another one, or change that"
    return ApiFault(409, "name_taken", message)


def unsound(problems: Iterable[faults.Problem]) -> ApiFault:
    """The document says what cannot be."""
    lines = [FieldProblem(each.message, key=faults.spell(each.path)) for each in problems]
    message = f"nothing was changed: {lines[0]}" if len(lines) == 1 else "nothing was changed: several keys are wrong"
    return ApiFault(422, "invalid_object", message, lines)


def too_many(count: int, most: int) -> ApiFault:
    """More in one request than is done at once."""
    message = f"{count} objects are more than one request makes; send {most} at most, and the rest in further requests"
    return ApiFault(422, "too_many_objects", message)


def not_empty(thing: Thing, count: int) -> ApiFault:
    """What is below it would go too."""
    message = f"{thing.where} has {count} below it; remove those first, or ask with ?cascade=true to remove all"
    return ApiFault(409, "not_empty", message)
