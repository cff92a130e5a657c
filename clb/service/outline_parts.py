"""What follows from a configuration and its certificates: rows, bases, listeners, and what changes.

Owns:      each of them for a whole configuration, and the difference between two that share what did not change.
Elsewhere: putting an outline together (loader.py, applying.py); plans in words (config/diff.py).
Pure:      values in, values out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from clb.config.changed_fields import common_ends
from clb.config.models import Config, Listener, LoadBalancer, Rule
from clb.config.plan import Contents
from clb.metering.cells import listener_key, rule_key, target_key
from clb.service.bundle import Outline
from clb.service.sockets import Address


def served_listeners(config: Config) -> Iterator[tuple[str, LoadBalancer, Listener]]:
    """Those that this node serves, by key."""
    for balancer in config.served:
        for listener in balancer.listeners:
            yield listener_key(balancer.name, listener.name), balancer, listener


def session_fingerprint(listener: Listener, authorities: Mapping[str, bytes], revocations: bytes | None) -> str:
    """What the sessions of an https listener were checked against: who resumes one is not checked again."""
    is_mutual = listener.ssl_mode == "mutual" and listener.ca_certificate is not None
    hashed = sha256(f"{listener.tls_policy} {listener.verify_client if is_mutual else 'off'}".encode())
    if is_mutual:
        hashed.update(f" {listener.verify_depth} {listener.min_client_key_bits} ".encode())
        hashed.update(sha256(authorities[listener.ca_certificate or ""]).digest())
        hashed.update(revocations or b"")
    return hashed.hexdigest()


def contents(outline: Outline) -> Contents:
    """What stands in the files that the configuration names."""
    return Contents(
        certificates={name: each.fingerprint for name, each in outline.certificates.items()},
        authorities=outline.authorities,
        revocations=outline.revocations,
        admin=outline.admin.fingerprint if outline.admin else "",
    )


@dataclass(frozen=True, slots=True)
class Differences:
    """Between two configurations; only what is not the same object in both is looked at."""

    new_rows: list[str] = field(default_factory=list)
    """Keys of listeners, rules and targets."""
    gone_rows: list[str] = field(default_factory=list)
    rules: dict[str, Rule | None] = field(default_factory=dict)
    """Those that are new or changed, by key; None of one that is gone."""
    listeners: dict[str, Listener] = field(default_factory=dict)
    """Those that are new or changed, by key."""
    gone_listeners: list[str] = field(default_factory=list)
    addresses: dict[str, Address] = field(default_factory=dict)
    """Of listeners that are new or moved."""


def differences(old: Config, new: Config) -> Differences:
    """See there."""
    found = Differences()
    before = {key: listener for key, _, listener in served_listeners(old)}
    after = {key: listener for key, _, listener in served_listeners(new)}
    gone: dict[str, None] = {}
    fresh: dict[str, None] = {}
    for key, listener in after.items():
        was = before.get(key)
        if was is listener:
            continue
        found.listeners[key] = listener
        if was is None or (was.address, was.port) != (listener.address, listener.port):
            found.addresses[key] = (listener.address, listener.port)
        if was is None:
            fresh[key] = None
        _rule_differences(key, was.rules if was is not None else (), listener.rules, found.rules, gone, fresh)
    for key, listener in before.items():
        if key not in after:
            found.gone_listeners.append(key)
            gone[key] = None
            _rule_differences(key, listener.rules, (), found.rules, gone, fresh)
    found.new_rows.extend(each for each in fresh if each not in gone)
    found.gone_rows.extend(each for each in gone if each not in fresh)
    return found


def _rule_differences(
    listener: str,
    old: tuple[Rule, ...],
    new: tuple[Rule, ...],
    found: dict[str, Rule | None],
    gone: dict[str, None],
    fresh: dict[str, None],
) -> None:
    balancer, _, name = listener.partition("/")
    first, last = common_ends(old, new)
    old, new = old[first : len(old) - last], new[first : len(new) - last]
    kept = {id(rule) for rule in old} & {id(rule) for rule in new}
    for rules, keys in ((old, gone), (new, fresh)):
        for rule in rules:
            if id(rule) not in kept:
                key = rule_key(balancer, name, rule.domain, rule.url)
                found[key] = rule if keys is fresh else None
                keys[key] = None
                keys.update((target_key(key, target.identity), None) for target in rule.targets)
