"""Say what would change of listeners, their rules and targets, and how.

Owns:      which of a listener's keys need new sockets or fresh TLS sessions; what drains.
Elsewhere: the rest of a configuration (diff.py); doing it (service/assembly.py).
Pure:      same listeners, same entries.

Fresh TLS sessions are needed where a session that is resumed would pass by the new word: it keeps the suite and the
version that it was made with, and the client's certificate is not looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clb.config.changed_fields import changed_fields, common_ends
from clb.config.listeners import Listener
from clb.config.models import Config
from clb.config.plan import Contents, Entry, Kind
from clb.config.rules import Rule, Target
from clb.units import format_duration

_SOCKET_KEYS = frozenset({"address", "port"})
_SESSION_KEYS = frozenset({"tls_policy", "ssl_mode"})
_CLIENT_KEYS = frozenset({"verify_client", "ca_certificate", "crl", "verify_depth", "min_client_key_bits"})
"""What the client's certificate is checked against, if it is asked for."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Both configurations, and what stands in the files that they name."""

    old: Config
    new: Config
    before: Contents
    after: Contents


def added_listener(balancer: str, listener: Listener) -> Entry:
    """A listener that was not there, or not served here."""
    key = f"{balancer}/{listener.name}"
    what = f"{_socket(listener)} ({listener.protocol}), {_count(len(listener.rules), 'rule')}"
    return Entry(Kind.NEW_LISTENER, key, what, key)


def removed_listener(sides: Sides, balancer: str, listener: Listener) -> Entry:
    """A listener that is there no more, or not served here."""
    key = f"{balancer}/{listener.name}"
    return Entry(Kind.REMOVED_LISTENER, key, f"{_socket(listener)} is closed; {_grace(sides)}", key)


def changed_listener(sides: Sides, balancer: str, old: Listener, new: Listener) -> Iterator[Entry]:
    """A listener that stays."""
    key = f"{balancer}/{new.name}"
    if old.protocol != new.protocol:
        # Nothing of a connection that speaks the one can go on in the other.
        what = f"protocol {old.protocol} -> {new.protocol}: a new listener takes the socket over; {_grace(sides)}"
        yield Entry(Kind.REMOVED_LISTENER, key, what, key)
        yield Entry(Kind.NEW_LISTENER, key, f"{_socket(new)} ({new.protocol})", key)
    if old is not new:
        for name, what in changed_fields(old, new, skip={"rules", "protocol"}):
            yield Entry(_kind(name, new), f"{key} {name}", what, key)
    yield from _changed_files(sides, balancer, key, old, new)
    if old is not new:
        yield from _rule_entries(sides, key, old, new)


def _kind(name: str, listener: Listener) -> Kind:
    if name in _SOCKET_KEYS:
        return Kind.NEW_SOCKETS
    is_of_sessions = name in _SESSION_KEYS or (name in _CLIENT_KEYS and listener.ssl_mode == "mutual")
    return Kind.NEW_BASE if is_of_sessions and listener.protocol == "https" else Kind.IN_PLACE


def _changed_files(sides: Sides, balancer: str, key: str, old: Listener, new: Listener) -> Iterator[Entry]:
    """The CA and the revocation list, where only what stands in their files is another."""
    before, after = sides.before, sides.after
    authority = new.ca_certificate
    was, will_be = before.authorities.get(authority or ""), after.authorities.get(authority or "")
    if authority == old.ca_certificate and was != will_be:
        yield Entry(Kind.NEW_BASE, f"{key} ca_certificate", f"{authority}: its file has another certificate", key)
    place = (balancer, new.name)
    if new.crl == old.crl and before.revocations.get(place) != after.revocations.get(place):
        yield Entry(Kind.NEW_BASE, f"{key} crl", "its file has another list", key)


def _rule_entries(sides: Sides, key: str, old: Listener, new: Listener) -> Iterator[Entry]:
    first, last = common_ends(old.rules, new.rules)
    before = {(rule.domain, rule.url): rule for rule in old.rules[first : len(old.rules) - last]}
    after = {(rule.domain, rule.url): rule for rule in new.rules[first : len(new.rules) - last]}
    for identity in dict.fromkeys([*before, *after]):
        where = f"{key} rule {identity[0]}{identity[1]}"
        was, will_be = before.get(identity), after.get(identity)
        if was is not None and will_be is not None:
            yield from _changed_rule(sides, key, where, was, will_be)
        elif will_be is not None:
            yield Entry(Kind.IN_PLACE, where, f"added, {_destination(will_be)}", key)
        elif was is not None:
            grace = f"; {_grace(sides)}" if was.targets else ""
            yield Entry(Kind.DRAINED, where, f"removed, {_destination(was)}{grace}", key)
    if list(before) != list(after) and before.keys() == after.keys():
        yield Entry(Kind.IN_PLACE, f"{key} rules", "another order", key)


def _changed_rule(sides: Sides, key: str, where: str, old: Rule, new: Rule) -> Iterator[Entry]:
    if old is new:
        return
    for name, what in changed_fields(old, new, skip={"targets"}):
        yield Entry(Kind.IN_PLACE, f"{where} {name}", what, key)
    before = {_identity(target): target for target in old.targets}
    after = {_identity(target): target for target in new.targets}
    for identity in dict.fromkeys([*before, *after]):
        place = f"{where} target {identity}"
        was, will_be = before.get(identity), after.get(identity)
        if was is not None and will_be is not None:
            for name, what in changed_fields(was, will_be):
                yield Entry(Kind.IN_PLACE, f"{place} {name}", what, key)
        elif will_be is not None:
            yield Entry(Kind.IN_PLACE, place, f"added, weight {will_be.weight}{_until_checked(new)}", key)
        else:
            yield Entry(Kind.DRAINED, place, f"removed; {_grace(sides)}", key)
    if list(before) != list(after) and before.keys() == after.keys():
        yield Entry(Kind.IN_PLACE, f"{where} targets", "another order", key)


def _identity(target: Target) -> str:
    return _address(target.address, target.port)


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _socket(listener: Listener) -> str:
    return _address(listener.address, listener.port)


def _destination(rule: Rule) -> str:
    return "a redirect" if rule.redirect is not None else _count(len(rule.targets), "target")


def _until_checked(rule: Rule) -> str:
    return ", once its checks pass" if rule.health_check.enabled else ""


def _grace(sides: Sides) -> str:
    return f"running requests have {format_duration(sides.new.node.drain_timeout)} to finish"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
