"""One configuration of what the file says and of what the store has.

Owns:      putting the two together, clashes between them, overrides of the file's targets, what is left out.
Elsewhere: models of the store's entries (stored_models.py); opening stored certificates (stored_certificates.py).
Pure:      models in, a model or problems out. What did not change is the same object as before.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from operator import is_
from typing import Any, TypeVar

from clb.config.checks.redirects import check_redirects
from clb.config.checks.regions import meeting
from clb.config.checks.sockets import Socket, clashes
from clb.config.checks.view import View
from clb.config.faults import did_you_mean, quote
from clb.config.models import Certificate, Config, Listener, LoadBalancer, Rule, Target
from clb.metering.cells import listener_key, rule_key, target_key
from clb.service.stored_models import Problem, StoredModels
from clb.store.inventory import Certificate as StoredCertificate
from clb.store.inventory import Inventory, Override

_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class FilePart:
    """What the file alone says: its own load balancers, by their own weights."""

    config: Config
    """Certificates with `stored` are those that the file gave a name."""

    @classmethod
    def of(cls, config: Config, aliases: Collection[str], overrides: Mapping[str, Override]) -> FilePart:
        """Take it out of a merged configuration."""
        own = tuple(balancer for balancer in config.load_balancers if balancer.stored is None)
        certificates = {
            name: each for name, each in config.certificates.items() if each.stored is None or name in aliases
        }
        part = cls(config.model_copy(update={"load_balancers": own, "certificates": certificates}))
        weights = {key: each.file_weight for key, each in overrides.items()}
        return cls(part.config.model_copy(update={"load_balancers": part.with_weights(weights)})) if weights else part

    @property
    def aliases(self) -> frozenset[str]:
        """Names that the file gave to certificates of the store."""
        return frozenset(name for name, each in self.config.certificates.items() if each.stored is not None)

    @cached_property
    def places(self) -> Mapping[str, tuple[int, int, int]]:
        """Where each rule is, by its key: positions of load balancer, listener and rule."""
        return {
            rule_key(balancer.name, listener.name, rule.domain, rule.url): (first, second, third)
            for first, balancer in enumerate(self.config.load_balancers)
            for second, listener in enumerate(balancer.listeners)
            for third, rule in enumerate(listener.rules)
        }

    def target(self, key: str) -> Target | None:
        """Find a target by its key."""
        rule = self._rule(key.rpartition(" ")[0])
        identity = key.rpartition(" ")[2]
        return next((each for each in rule.targets if each.identity == identity), None) if rule is not None else None

    def _rule(self, key: str) -> Rule | None:
        if key not in self.places:
            return None
        first, second, third = self.places[key]
        return self.config.load_balancers[first].listeners[second].rules[third]

    def in_force(self, overrides: Mapping[str, Override]) -> dict[str, Override]:
        """Overrides whose target is still there, with the weight that it had then; the others are over."""
        found = {}
        for key, override in overrides.items():
            target = self.target(key)
            if target is not None and target.weight == override.file_weight:
                found[key] = override
        return found

    def with_weights(self, weights: Mapping[str, int], known: Sequence[LoadBalancer] = ()) -> tuple[LoadBalancer, ...]:
        """The load balancers with other weights for some targets; what is equal among `known` is that object."""
        changes: dict[tuple[int, int], dict[int, Rule]] = {}
        for key in {each.rpartition(" ")[0] for each in weights}:
            first, second, third = self.places[key]
            rule = self.config.load_balancers[first].listeners[second].rules[third]
            targets = tuple(_with_weight(key, target, weights) for target in rule.targets)
            before = _at(_at(known, first, "listeners"), second, "rules")
            was = before[third] if before is not None and len(before) > third else None
            changes.setdefault((first, second), {})[third] = _same(was, rule.model_copy(update={"targets": targets}))
        return tuple(
            self._balancer(first, balancer, changes, known) for first, balancer in enumerate(self.config.load_balancers)
        )

    def _balancer(
        self,
        first: int,
        balancer: LoadBalancer,
        changes: Mapping[tuple[int, int], Mapping[int, Rule]],
        known: Sequence[LoadBalancer],
    ) -> LoadBalancer:
        if not any(place[0] == first for place in changes):
            return balancer
        before = _at(known, first, "listeners")
        listeners = []
        for second, listener in enumerate(balancer.listeners):
            if (changed := changes.get((first, second))) is None:
                listeners.append(listener)
                continue
            rules = list(listener.rules)
            for third, rule in changed.items():
                rules[third] = rule
            was = before[second] if before is not None and len(before) > second else None
            # Only a look at each rule: the equal ones are the same objects.
            is_same = was is not None and len(was.rules) == len(rules) and all(map(is_, was.rules, rules))
            made = listener.model_copy(update={"rules": tuple(rules)})
            listeners.append(was if is_same and was is not None and was == made else made)
        if before is not None and len(before) == len(listeners) and all(map(is_, before, listeners)):
            return _same(known[first], balancer.model_copy(update={"listeners": tuple(listeners)}))
        return balancer.model_copy(update={"listeners": tuple(listeners)})


def _at(things: Sequence[Any] | None, place: int, name: str) -> Sequence[Any] | None:
    return getattr(things[place], name) if things is not None and len(things) > place else None


@dataclass(frozen=True, slots=True)
class Merged:
    """Both, and what of the store is in use here."""

    config: Config
    certificates: Mapping[str, StoredCertificate]
    """Of the store, by the names that listeners of this node know them by."""
    overrides: Mapping[str, Override] = field(default_factory=dict)
    """Those that are in force."""
    of: Inventory | None = None
    """What the store had; None where that is not known."""


def merge(file: FilePart, stored: StoredModels, before: Merged | None = None) -> Merged:
    """Put both together; `before` is what was, so that what stays is the same object.

    It is for `problems` to say whether they go together.
    """
    inventory = stored.inventory
    was = before.of if before is not None and stored.is_same_but_targets else None
    if before is not None and was is not None and _share_all_else(was, inventory):
        own = before.config.load_balancers[: len(file.config.load_balancers)]
        config = before.config.model_copy(update={"load_balancers": (*own, *stored.balancers)})
        return replace(before, config=config, of=inventory)
    overrides = file.in_force(inventory.overrides)
    weights = {key: effective_weight(each) for key, each in overrides.items()}
    own = file.config.load_balancers
    if weights:
        own = file.with_weights(weights, before.config.load_balancers if before is not None else ())
    balancers = (*own, *stored.balancers)
    certificates = _in_use(file, stored, inventory)
    declared = dict(file.config.certificates)
    for name, certificate in certificates.items():
        declared.setdefault(name, _declared(name, certificate.type, certificate.id))
    if before is not None and before.config.certificates == declared:
        declared = before.config.certificates
    config = file.config.model_copy(update={"load_balancers": balancers, "certificates": declared})
    return Merged(config, certificates, overrides, inventory)


def _share_all_else(old: Inventory, new: Inventory) -> bool:
    return old.certificates is new.certificates and old.overrides is new.overrides


@lru_cache(maxsize=4096)
def _declared(name: str, kind: str, certificate: str) -> Certificate:
    # Not validated: whatever the store calls it, it is the store's.
    return Certificate.model_construct(
        {"type", "stored"}, type=kind, certificate=None, private_key=None, stored=certificate
    )


def left_out(merged: Merged, quarantined: Mapping[str, str]) -> dict[str, str]:
    """Listeners that cannot be served without the certificates under quarantine, and why."""
    if not quarantined:
        return {}
    found = {}
    for balancer in merged.config.load_balancers:
        for listener in balancer.listeners:
            bad = [name for name in names_of(listener) if name in quarantined]
            if bad:
                found[listener_key(balancer.name, listener.name)] = f"certificate {bad[0]}: {quarantined[bad[0]]}"
    return found


def without_listeners(merged: Merged, left_out: Collection[str]) -> Merged:
    """The same without some listeners of the store, by `listener_key`."""
    if not left_out:
        return merged
    balancers = tuple(_without(balancer, left_out) for balancer in merged.config.load_balancers)
    config = merged.config.model_copy(update={"load_balancers": balancers})
    return replace(merged, config=config)


def _without(balancer: LoadBalancer, left_out: Collection[str]) -> LoadBalancer:
    kept = tuple(each for each in balancer.listeners if listener_key(balancer.name, each.name) not in left_out)
    return balancer if len(kept) == len(balancer.listeners) else balancer.model_copy(update={"listeners": kept})


def _in_use(file: FilePart, stored: StoredModels, inventory: Inventory) -> dict[str, StoredCertificate]:
    """Certificates of the store that listeners of this node name, or that the file gave a name."""
    by_name = {each.name: each for each in inventory.certificates.values()}
    here = file.config.node.region
    found = {}
    for name, declared in file.config.certificates.items():
        if declared.stored is not None and (certificate := inventory.certificates.get(declared.stored)) is not None:
            found[name] = certificate
    for balancer in stored.balancers:
        if balancer.serves(here):
            for listener in balancer.listeners:
                for name in names_of(listener):
                    if name not in file.config.certificates and name in by_name:
                        found[name] = by_name[name]
    return found


def names_of(listener: Listener) -> tuple[str, ...]:
    """Names of all certificates that a listener uses."""
    authority = (listener.ca_certificate,) if listener.ca_certificate else ()
    return listener.certificate_names + authority


# --- overrides ---


def effective_weight(override: Override) -> int:
    """What a target of the file weighs while it is overridden."""
    if override.draining:
        return 0
    return override.file_weight if override.weight is None else override.weight


def _with_weight(rule: str, target: Target, weights: Mapping[str, int]) -> Target:
    weight = weights.get(target_key(rule, target.identity))
    if weight is None or weight == target.weight:
        return target
    return target.model_copy(update={"weight": weight})


def _same(known: _Thing | None, made: _Thing) -> _Thing:
    """The object that is there, if the one that was made is equal to it."""
    return known if known is not None and known == made else made


# --- do they go together? ---


def problems(file: FilePart, stored: StoredModels) -> Iterator[Problem]:
    """Everything that the file and the store have both, and what listeners of the store name and is not there.

    Of the file alone it is known that it is sound, of each document of the store too.
    """
    yield from _name_clashes(file, stored)
    yield from _bad_references(file, stored)
    if stored.is_same_but_targets:
        return
    yield from _socket_clashes(file, stored)
    yield from _redirects(file, stored)


def _name_clashes(file: FilePart, stored: StoredModels) -> Iterator[Problem]:
    own = {balancer.name for balancer in file.config.load_balancers}
    for balancer in stored.balancers:
        if balancer.name in own:
            message = f"the configuration file has a load balancer {quote(balancer.name)} too; give one another name"
            yield Problem(f"load balancer {balancer.name}", "name", message)
    for certificate in stored.inventory.certificates.values():
        declared = file.config.certificates.get(certificate.name)
        if declared is not None and declared.stored != certificate.id:
            message = f"the configuration file has a certificate {quote(certificate.name)} too; give one another name"
            yield Problem(f"certificate {certificate.name}", "name", message)


def _bad_references(file: FilePart, stored: StoredModels) -> Iterator[Problem]:
    types: dict[str, str] = {each.name: each.type for each in stored.inventory.certificates.values()}
    types.update({name: each.type for name, each in file.config.certificates.items()})
    for name, declared in file.config.certificates.items():
        if declared.stored is not None:
            found = stored.inventory.certificates.get(declared.stored)
            if found is None:
                yield Problem(f"certificate {name}", "stored", f"the store has no certificate {declared.stored}")
            elif found.type != declared.type:
                yield Problem(f"certificate {name}", "type", f"the store's certificate is of type {found.type}")
    for balancer in stored.balancers:
        for listener in balancer.listeners:
            place = f"load balancer {balancer.name}, listener {listener.name}"
            for key, name, wanted in _references(listener):
                if types.get(name) != wanted:
                    yield Problem(place, key, _bad_reference(name, wanted, types))


def _references(listener: Listener) -> Iterator[tuple[str, str, str]]:
    if listener.certificate is not None:
        yield "certificate", listener.certificate, "server"
    if listener.ca_certificate is not None:
        yield "ca_certificate", listener.ca_certificate, "ca"
    for number, name in enumerate(listener.certificates):
        yield f"certificates[{number}]", name, "server"


def _bad_reference(name: str, wanted: str, types: Mapping[str, str]) -> str:
    if name not in types:
        meant = did_you_mean(name, [known for known, kind in types.items() if kind == wanted])
        hint = f"did you mean {quote(meant)}?" if meant else "upload it first"
        return f"no certificate is called {quote(name)}; {hint}"
    if wanted == "server":
        return f"{quote(name)} is a CA certificate; a listener shows one of type server"
    return f"{quote(name)} is a server certificate; clients are checked against one of type ca"


def _socket_clashes(file: FilePart, stored: StoredModels) -> Iterator[Problem]:
    config = file.config
    here = frozenset(config.node.region)
    admin = Socket(ipaddress.ip_address(config.admin.address), config.admin.port, here, "the management address")
    own = [socket for balancer in config.load_balancers for socket in _sockets(balancer, here, " of the file")]
    added = [socket for balancer in stored.balancers for socket in _sockets(balancer, here, "")]
    theirs = set(map(id, added))
    for socket, clash in clashes([admin, *own, *added]):
        if id(socket) in theirs:
            message = f"{socket} is taken by {clash.owner} ({clash}); choose another port or address"
            yield Problem(socket.owner, "port", message)


def _sockets(balancer: LoadBalancer, here: frozenset[str], of: str) -> Iterator[Socket]:
    regions = meeting(frozenset(balancer.region or ()), here)
    for listener in balancer.listeners:
        owner = f"load balancer {balancer.name}, listener {listener.name}{of}"
        yield Socket(ipaddress.ip_address(listener.address), listener.port, regions, owner)


def _redirects(file: FilePart, stored: StoredModels) -> Iterator[Problem]:
    """Those of the store that lead to one of the file or the store, and the other way round."""
    balancers = (*file.config.load_balancers, *stored.balancers)
    if not any(rule.redirect for each in stored.balancers for listener in each.listeners for rule in listener.rules):
        return
    root = View(
        {"node": {"region": file.config.node.region}, "load_balancers": tuple(map(_balancer_shape, balancers))}, ()
    )
    for problem in check_redirects(root):
        first, second, third = (step for step in problem.path if isinstance(step, int))
        yield Problem(_rule_at(balancers, first, second, third), "redirect", _named(balancers, problem.message))


def _balancer_shape(balancer: LoadBalancer) -> dict[str, Any]:
    return {"region": balancer.region or (), "listeners": tuple(map(_listener_shape, balancer.listeners))}


def _listener_shape(listener: Listener) -> dict[str, Any]:
    return {"protocol": listener.protocol, "port": listener.port, "rules": tuple(map(_rule_shape, listener.rules))}


def _rule_shape(rule: Rule) -> dict[str, Any]:
    redirect = rule.redirect.model_dump(exclude_unset=True) if rule.redirect is not None else None
    return {"domain": rule.domain, "url": rule.url, "default": rule.default, "redirect": redirect}


def _rule_at(balancers: Sequence[LoadBalancer], first: int, second: int, third: int) -> str:
    balancer = balancers[first]
    listener = balancer.listeners[second]
    rule = listener.rules[third]
    return f"load balancer {balancer.name}, listener {listener.name}, rule {rule.domain} {rule.url}"


_PLACE = re.compile(r"load_balancers\[(\d+)\]\.listeners\[(\d+)\]\.rules\[(\d+)\]")


def _named(balancers: Sequence[LoadBalancer], message: str) -> str:
    """Places of a document that nobody has written, as names."""
    return _PLACE.sub(lambda found: _rule_at(balancers, *map(int, found.groups())), message)
