"""Models of the load balancers that the store has, made of its entries: again only of what changed.

Owns:      the way from entries to models, and what rules of one listener say together; names of certificates in them.
Elsewhere: single documents (config/fragments.py); what the file and the store say together (merging.py).
Pure:      an inventory in, models or problems out. What did not change is the same object as before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final

from clb.config import faults
from clb.config.changed_fields import common_ends
from clb.config.checks.rules import check_rule_set
from clb.config.checks.view import View
from clb.config.fragments import FragmentFault, parse_listener, parse_load_balancer, parse_rule
from clb.config.models import Config, Listener, LoadBalancer, Rule
from clb.store.inventory import Entry, Inventory, Kind

_ENTRIES_IN_A_STEP: Final = 10
_LOOKS_IN_A_STEP: Final = 1000

Model = LoadBalancer | Listener | Rule


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an object of the store, or with it beside the file."""

    where: str
    """Such as `load balancer shop, listener https`."""
    key: str
    """Dotted path of the key, such as `health_check.interval`."""
    message: str


@dataclass(frozen=True, slots=True)
class StoredModels:
    """The models of one inventory."""

    inventory: Inventory = field(default_factory=Inventory)
    by_id: Mapping[str, Model] = field(default_factory=dict)
    """Load balancers with their listeners, listeners with their rules, rules with their targets."""
    balancers: tuple[LoadBalancer, ...] = ()
    is_same_but_targets: bool = False
    """Whether nothing but targets is other than in the models that these were made of."""

    def after(self, inventory: Inventory, in_service: Config) -> Generator[None, None, StoredModels]:
        """Return the models of another inventory, in steps; what is equal in what is in service is that object.

        Raises:
            ModelFaults: there are documents that are not sound, or that do not go together.
        """
        return (yield from _Making(self, inventory, in_service).run())

    @classmethod
    def known(cls, inventory: Inventory, balancers: Iterable[LoadBalancer]) -> StoredModels:
        """The models of an inventory that is in service already: of `balancers`, whatever of it is found there."""
        by_id: dict[str, Model] = {}
        known = {balancer.stored: balancer for balancer in balancers}
        for entry in inventory.of_parent(None):
            balancer = known.get(entry.id)
            if balancer is None or not _remember(inventory, entry, balancer, by_id):
                continue
            by_id[entry.id] = balancer
        found = tuple(by_id[entry.id] for entry in inventory.of_parent(None) if entry.id in by_id)
        complete = frozenset(inventory.entries) - by_id.keys()
        missing = any(inventory.entries[each].kind is not Kind.TARGET for each in complete)
        # With anything missing the inventory counts as unknown; what was found is then only taken where it is equal.
        balancers = tuple(each for each in found if isinstance(each, LoadBalancer))
        return cls() if missing else cls(inventory, by_id, balancers)


class ModelFaults(Exception):
    """Why an inventory has no models."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in self.problems))


def where(inventory: Inventory, entry: Entry) -> str:
    """Name an entry for people, from the load balancer on."""
    path: list[str] = []
    at: Entry | None = entry
    while at is not None:
        path.append(f"{_WORDS[at.kind]} {at.key}")
        at = inventory.entries.get(at.parent) if at.parent is not None else None
    return ", ".join(reversed(path))


_WORDS: Final[Mapping[Kind, str]] = {
    Kind.LOAD_BALANCER: "load balancer",
    Kind.LISTENER: "listener",
    Kind.RULE: "rule",
    Kind.TARGET: "target",
}


def _remember(inventory: Inventory, entry: Entry, balancer: LoadBalancer, by_id: dict[str, Model]) -> bool:
    listeners = {listener.name: listener for listener in balancer.listeners}
    for below in inventory.of_parent(entry.id):
        listener = listeners.get(below.key)
        if listener is None:
            return False
        by_id[below.id] = listener
        rules = {f"{rule.domain} {rule.url}": rule for rule in listener.rules}
        for each in inventory.of_parent(below.id):
            rule = rules.get(each.key)
            if rule is None:
                return False
            by_id[each.id] = rule
    return True


class _Making:
    def __init__(self, before: StoredModels, inventory: Inventory, in_service: Config) -> None:
        self._before = before
        self._inventory = inventory
        self._problems: list[Problem] = []
        self._names = {each.id: each.name for each in inventory.certificates.values()}
        self._models: dict[str, Model] = {}
        self._with_other_names: set[str] = set()
        """Listeners that are what they were, but for the name of a certificate."""
        self._in_service = {each.name: each for each in in_service.load_balancers}
        self._listeners_in_service: dict[str, tuple[Listener | None, dict[str, Rule]]] = {}
        """By the entry's id: what serves under its name, and the rules of that by their keys."""

    def run(self) -> Generator[None, None, StoredModels]:
        old, new = self._before.inventory, self._inventory
        changed = yield from self._changed_entries()
        if not changed:
            return StoredModels(new, self._before.by_id, self._before.balancers, is_same_but_targets=True)
        self._models = {each: model for each, model in self._before.by_id.items() if each in new.entries}
        yield
        for kind in (Kind.RULE, Kind.LISTENER, Kind.LOAD_BALANCER):
            for number, entry in enumerate([new.entries[each] for each in changed if each in new.entries], 1):
                if entry.kind is kind:
                    yield from self._make(entry, old.entries.get(entry.id))
                    if number % _ENTRIES_IN_A_STEP == 0:
                        yield
        if self._problems:
            raise ModelFaults(self._problems)
        balancers = tuple(self._models[each] for each in new.children.get(None, ()))
        return StoredModels(
            new,
            self._models,
            tuple(each for each in balancers if isinstance(each, LoadBalancer)),
            all(new.entries.get(each) is old.entries.get(each) or self._is_target(each) for each in changed),
        )

    def _is_target(self, entry: str) -> bool:
        found = self._inventory.entries.get(entry) or self._before.inventory.entries[entry]
        return found.kind is Kind.TARGET

    def _changed_entries(self) -> Generator[None, None, set[str]]:
        """Ids of what is new or other or gone, and of all that holds any of it."""
        old, new = self._before.inventory.entries, self._inventory.entries
        changed: set[str] = set()
        hint = self._inventory.changed
        if hint is not None and hint[0] is old:
            changed = set(hint[1])
        elif old is not new:
            changed = {each for each, entry in new.items() if old.get(each) is not entry}
            yield
            changed |= {each for each in old if each not in new}
            yield
        if self._before.inventory.certificates is not self._inventory.certificates:
            self._with_other_names = self._renamed()
            changed |= self._with_other_names
            yield
        above: set[str] = set()
        for each in changed:
            entry = new.get(each) or old.get(each)
            while entry is not None and entry.parent is not None and entry.parent not in above:
                above.add(entry.parent)
                entry = new.get(entry.parent) or old.get(entry.parent)
        return changed | above

    def _renamed(self) -> set[str]:
        """Listeners that name a certificate whose name is another now."""
        before = {each.id: each.name for each in self._before.inventory.certificates.values()}
        renamed = {each for each, name in self._names.items() if before.get(each) != name} | (
            before.keys() - self._names.keys()
        )
        if not renamed:
            return set()
        return {
            entry.id
            for entry in self._inventory.entries.values()
            if entry.kind is Kind.LISTENER and renamed.intersection(certificate_references(entry.document))
        }

    def _make(self, entry: Entry, old: Entry | None) -> Generator[None, None, None]:
        try:
            if entry.kind is Kind.RULE:
                self._models[entry.id] = self._rule(entry)
            elif entry.kind is Kind.LISTENER:
                self._models[entry.id] = yield from self._listener(entry, old)
            else:
                self._models[entry.id] = self._balancer(entry)
        except FragmentFault as fault:
            self._problems += _told(where(self._inventory, entry), fault.problems)

    def _rule(self, entry: Entry) -> Rule:
        listener = self._inventory.entries[entry.parent or ""]
        targets = [target_in_force(target.document) for target in self._inventory.of_parent(entry.id)]
        rule = parse_rule(entry.document, listener.document, targets)
        if entry.id in self._before.inventory.entries:
            return rule  # Only where all is made anew it may be that nothing is new.
        known = self._known(listener)[1].get(f"{rule.domain} {rule.url}")
        return known if known is not None and known == rule else rule

    def _known(self, entry: Entry) -> tuple[Listener | None, dict[str, Rule]]:
        """What serves as this listener; only asked for what was made anew."""
        found = self._listeners_in_service.get(entry.id)
        if found is None:
            balancer = self._in_service.get(self._inventory.entries[entry.parent or ""].key)
            listeners = balancer.listeners if balancer is not None else ()
            listener = next((each for each in listeners if each.name == entry.key), None)
            rules = listener.rules if listener is not None else ()
            found = self._listeners_in_service[entry.id] = (
                listener,
                {f"{rule.domain} {rule.url}": rule for rule in rules},
            )
        return found

    def _listener(self, entry: Entry, old: Entry | None) -> Generator[None, None, Listener]:
        ids = self._inventory.children.get(entry.id, ())
        is_known = old is entry and entry.id not in self._with_other_names
        before = self._before.by_id.get(entry.id) if is_known else None
        if isinstance(before, Listener):
            frame = before
        else:
            frame = self._with_names(parse_listener(entry.document))
            if old is not None and old.document.get("protocol") != entry.document.get("protocol"):
                yield from self._check_rules_again(entry)
        yield
        found = [self._models.get(each) for each in ids]
        rules = tuple(each for each in found if isinstance(each, Rule))  # One that is missing has been told of.
        yield
        if not isinstance(before, Listener) or _is_found_otherwise(before.rules, rules):
            self._problems += _told(where(self._inventory, entry), _set_problems(rules))
        made = frame.model_copy(update={"rules": rules})
        known = None if isinstance(before, Listener) else self._known(entry)[0]
        return known if known is not None and _is_equal(known, known.rules, made, rules) else made

    def _check_rules_again(self, entry: Entry) -> Generator[None, None, None]:
        """A few keys of rules depend on the protocol."""
        for each in self._inventory.of_parent(entry.id):
            try:
                self._rule(each)
            except FragmentFault as fault:
                self._problems += _told(where(self._inventory, each), fault.problems)
            yield

    def _with_names(self, listener: Listener) -> Listener:
        """Certificates of the store may be referred to by id; in the configuration they have names."""
        names = self._names
        found = {
            "certificate": names.get(listener.certificate or "", listener.certificate),
            "ca_certificate": names.get(listener.ca_certificate or "", listener.ca_certificate),
            "certificates": tuple(names.get(each, each) for each in listener.certificates),
        }
        # A key that was not set must not count as set from now on.
        return listener.model_copy(update={key: each for key, each in found.items() if each != getattr(listener, key)})

    def _balancer(self, entry: Entry) -> LoadBalancer:
        before, old = self._before.by_id.get(entry.id), self._before.inventory.entries.get(entry.id)
        frame = before if isinstance(before, LoadBalancer) and old is entry else parse_load_balancer(entry.document)
        found = [self._models.get(each) for each in self._inventory.children.get(entry.id, ())]
        listeners = tuple(each for each in found if isinstance(each, Listener))
        made = frame.model_copy(update={"listeners": listeners, "stored": entry.id})
        known = self._in_service.get(made.name)
        return known if known is not None and _is_equal(known, known.listeners, made, listeners) else made


def _is_equal(known: Model, known_below: Sequence[Model], made: Model, below: Sequence[Model]) -> bool:
    """Whether they are equal: a look at each of what is below is enough, since equal ones are the same objects."""
    if len(known_below) != len(below) or not all(map(is_, known_below, below)):
        return False
    return known == made


def is_draining(document: Mapping[str, Any]) -> bool:
    """Whether a stored target takes no new work, whatever its weight is afterwards."""
    return document.get("draining") is True


def target_in_force(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored target as a configuration file has it: one that drains has no weight."""
    if "draining" not in document:
        return document
    plain = {key: value for key, value in document.items() if key != "draining"}
    return {**plain, "weight": 0} if is_draining(document) else plain


def certificate_references(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a listener's document says of certificates: ids of the store's, or names."""
    several = document.get("certificates") or ()
    found = [document.get("certificate"), document.get("ca_certificate"), *several]
    return tuple(each for each in found if isinstance(each, str))


def _is_found_otherwise(old: tuple[Rule, ...], new: tuple[Rule, ...]) -> bool:
    """Whether the rules say anything else together than before."""
    if len(old) != len(new):
        return True
    first, last = common_ends(old, new)
    pairs = zip(old[first : len(old) - last], new[first : len(new) - last], strict=True)
    return any((a.domain, a.url, a.default) != (b.domain, b.url, b.default) for a, b in pairs)


def _set_problems(rules: tuple[Rule, ...]) -> list[faults.Problem]:
    documents = tuple({"domain": rule.domain, "url": rule.url, "default": rule.default} for rule in rules)
    view = View({"rules": documents}, ())
    return list(check_rule_set(view, view.views("rules")))


def _told(place: str, problems: Iterable[faults.Problem]) -> Iterator[Problem]:
    return (Problem(place, faults.spell(each.path), each.message) for each in problems if not each.is_warning)
