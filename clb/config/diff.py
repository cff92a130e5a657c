"""Say what would change between two configurations of a running node, and how.

Owns:      the node's own keys, certificates and load balancers; the order of a plan.
Elsewhere: listeners (diff_listeners.py); the words for values (changed_fields.py); doing it (service/).
Pure:      same configurations, same plan; equal ones, an empty plan; every difference has at least one entry.

A key that is not named here changes in place: that is the rule, the others are the exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clb.config.changed_fields import changed_fields
from clb.config.diff_listeners import Sides, added_listener, changed_listener, removed_listener
from clb.config.listeners import Listener
from clb.config.models import Certificate, Config, LoadBalancer
from clb.config.plan import Contents, Entry, Kind, Plan

_NODE_KINDS = {
    "workers": Kind.WORKERS,
    "state_dir": Kind.NEEDS_RESTART,
    "user": Kind.NEEDS_RESTART,
}
_CONTROL_KINDS = {
    "admin.hosts": Kind.IN_PLACE,
    "admin.metrics_open": Kind.IN_PLACE,
    "notify.webhook": Kind.IN_PLACE,
    "notify.secret": Kind.IN_PLACE,
    "ledger.minutes": Kind.IN_PLACE,
    "ledger.five_minutes": Kind.IN_PLACE,
    "ledger.hours": Kind.IN_PLACE,
    "ledger.days": Kind.IN_PLACE,
}
"""All else of the management's own keys is bound or opened once, when the control process starts."""


def plan(old: Config, new: Config, before: Contents | None = None, after: Contents | None = None) -> Plan:
    """Return every change; `before` and `after` tell of files whose names stayed."""
    sides = Sides(old, new, before or Contents(), after or Contents())
    return Plan(tuple(_entries(sides)))


def _entries(sides: Sides) -> Iterator[Entry]:
    old, new = sides.old, sides.new
    for key, what in changed_fields(old.node, new.node):
        yield Entry(_NODE_KINDS.get(key, Kind.IN_PLACE), f"node.{key}", what)
    for part in ("admin", "store", "keyring", "notify", "ledger"):
        for key, what in changed_fields(getattr(old, part), getattr(new, part)):
            where = f"{part}.{key}"
            yield Entry(_CONTROL_KINDS.get(where, Kind.CONTROL_RESTART), where, what)
    if sides.before.admin and sides.after.admin and sides.before.admin != sides.after.admin:
        yield Entry(Kind.CONTROL_RESTART, "admin.tls", "another certificate")
    yield from _certificates(sides)
    yield from _load_balancers(sides)


def _certificates(sides: Sides) -> Iterator[Entry]:
    old, new = sides.old.certificates, sides.new.certificates
    if old is new and sides.before is sides.after:
        return
    for name in dict.fromkeys([*old, *new]):
        where = f"certificate {name}"
        if name not in new:
            yield Entry(Kind.IN_PLACE, where, "removed")
        elif name not in old:
            yield Entry(Kind.IN_PLACE, where, f"added{_users(sides.new, name)}")
        else:
            yield from _certificate(sides, name, where, old[name], new[name])


def _certificate(sides: Sides, name: str, where: str, old: Certificate, new: Certificate) -> Iterator[Entry]:
    if old is not new:
        for key, what in changed_fields(old, new):
            yield Entry(Kind.IN_PLACE, f"{where} {key}", what)
    known: tuple[Mapping[str, str | bytes], Mapping[str, str | bytes]]
    for known in (
        (sides.before.certificates, sides.after.certificates),
        (sides.before.authorities, sides.after.authorities),
    ):
        if name in known[0] and name in known[1] and known[0][name] != known[1][name]:
            yield Entry(Kind.IN_PLACE, where, f"its file has another certificate{_users(sides.new, name)}")


def _users(config: Config, name: str) -> str:
    users = [
        f"{balancer.name}/{listener.name}"
        for balancer in config.served
        for listener in balancer.listeners
        if name in (*listener.certificate_names, listener.ca_certificate)
    ]
    if not users:
        return "; no listener here uses it"
    more = f" and {len(users) - 3} more" if len(users) > 3 else ""
    return f"; used by {', '.join(users[:3])}{more}"


def _load_balancers(sides: Sides) -> Iterator[Entry]:
    old = {balancer.name: balancer for balancer in sides.old.load_balancers}
    new = {balancer.name: balancer for balancer in sides.new.load_balancers}
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before is not None and after is not None:
            for key, what in changed_fields(before, after, skip={"listeners"}):
                yield Entry(Kind.IN_PLACE, f"{name} {key}", what)
        was_served, is_served = _listeners(sides.old, before), _listeners(sides.new, after)
        if was_served is None and is_served is None and before != after:
            yield Entry(Kind.IN_PLACE, name, "changed; it is not of a region of this node, so nothing is done")
        yield from _listener_entries(sides, name, was_served or {}, is_served or {})
    if list(old) != list(new) and old.keys() == new.keys():
        yield Entry(Kind.IN_PLACE, "load_balancers", "another order")


def _listeners(config: Config, balancer: LoadBalancer | None) -> dict[str, Listener] | None:
    """Return what this node serves of a load balancer; None if that is nothing of it."""
    if balancer is None or not balancer.serves(config.node.region):
        return None
    return {listener.name: listener for listener in balancer.listeners}


def _listener_entries(
    sides: Sides, balancer: str, old: Mapping[str, Listener], new: Mapping[str, Listener]
) -> Iterator[Entry]:
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before is not None and after is not None:
            yield from changed_listener(sides, balancer, before, after)
        elif after is not None:
            yield added_listener(balancer, after)
        elif before is not None:
            yield removed_listener(sides, balancer, before)
    if list(old) != list(new) and old.keys() == new.keys():
        yield Entry(Kind.IN_PLACE, f"{balancer} listeners", "another order")
