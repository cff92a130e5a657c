"""Inventories as a test says them: load balancers with their listeners, rules and targets, in one nest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from clb.store.inventory import Certificate, Entry, Inventory, Kind, Material

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def entry(number: str, kind: Kind, parent: str | None, key: str, position: int = 0, **document: Any) -> Entry:
    return Entry(number, kind, parent, position, key, document, 1, NOW, NOW)


def target(number: str, parent: str, port: int, weight: int = 10, position: int = 0) -> Entry:
    key = f"10.0.0.1:{port}"
    return entry(number, Kind.TARGET, parent, key, position, address="10.0.0.1", port=port, weight=weight)


def rule(number: str, parent: str, domain: str, position: int = 0, **document: Any) -> Entry:
    whole = {"domain": domain, "default": not position, **document}
    return entry(number, Kind.RULE, parent, f"{domain} /", position, **whole)


def listener(number: str, parent: str, port: int = 8080, **document: Any) -> Entry:
    whole = {"name": "http", "port": port, "protocol": "http", **document}
    return entry(number, Kind.LISTENER, parent, whole["name"], **whole)


def balancer(number: str, name: str, position: int = 0, **document: Any) -> Entry:
    return entry(number, Kind.LOAD_BALANCER, None, name, position, name=name, **document)


def shop(rules: int = 3, targets: int = 2) -> Iterator[Entry]:
    """A load balancer `shop` with a listener of some rules."""
    yield balancer("lb-shop", "shop")
    yield listener("lst-shop", "lb-shop")
    for number in range(rules):
        yield rule(f"rule-{number}", "lst-shop", f"r{number}.example.com", number)
        for each in range(targets):
            yield target(f"tgt-{number}-{each}", f"rule-{number}", 9000 + each, position=each)


def inventory(*entries: Entry, revision: int = 1, certificates: tuple[Certificate, ...] = ()) -> Inventory:
    return Inventory.of(revision, entries, certificates)


def certificate(number: str, name: str, kind: Any = "server") -> Certificate:
    material = Material("", None, "00", "00", NOW, NOW)
    return Certificate(number, name, kind, material, None, 1, None, False, 1, NOW, NOW)
