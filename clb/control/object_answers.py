"""What is told of load balancers, listeners, rules and targets.

Owns:      filling the answers of object_models.py.
Elsewhere: finding the objects (catalogue.py); everything that is happening (status.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from clb.config.faults import Problem, spell
from clb.config.models import Listener, LoadBalancer
from clb.control.catalogue import DEFAULT_WEIGHT, Catalogue, Thing
from clb.control.events import utc
from clb.control.models import ErrorText
from clb.control.node import Node
from clb.control.object_models import (
    ListenerAnswer,
    LoadBalancerAnswer,
    ObjectAnswer,
    Reference,
    RuleAnswer,
    TargetAnswer,
)
from clb.metering.cells import TargetField
from clb.store.inventory import Kind

_DEFAULTS = {name: Listener.model_fields[name].default for name in ("address", "port", "protocol")}


def answer(node: Node, catalogue: Catalogue, thing: Thing, warnings: Iterable[Problem] = ()) -> ObjectAnswer:
    """What is told of one, in the form of its kind."""
    common: dict[str, Any] = {
        "id": thing.id,
        "owner": thing.owner,
        "version": thing.version,
        "created_at": thing.created_at,
        "updated_at": thing.updated_at,
        "document": dict(thing.document),
        "warnings": texts(warnings),
    }
    if thing.kind is Kind.LOAD_BALANCER:
        return LoadBalancerAnswer(**common, **_balancer(catalogue, thing))
    if thing.kind is Kind.LISTENER:
        return ListenerAnswer(**common, **_listener(catalogue, thing))
    if thing.kind is Kind.RULE:
        return RuleAnswer(**common, **_rule(catalogue, thing))
    return TargetAnswer(**common, **_target(node, thing))


def texts(problems: Iterable[Problem]) -> list[ErrorText]:
    """Problems as an answer has them."""
    return [ErrorText(message=each.message, key=spell(each.path)) for each in problems]


def reference(thing_id: str, name: str) -> Reference:
    """Another object, by id and name."""
    return Reference(id=thing_id, name=name)


def _balancer(catalogue: Catalogue, thing: Thing) -> dict[str, Any]:
    region = thing.document.get("region")
    regions = [region] if isinstance(region, str) else list(region) if region is not None else None
    model = LoadBalancer.model_construct(region=tuple(regions) if regions is not None else None)
    return {
        "name": thing.names[0],
        "region": regions,
        "served_here": model.serves(catalogue.outline.config.node.region),
        "listeners": catalogue.count_below(thing),
    }


def _listener(catalogue: Catalogue, thing: Thing) -> dict[str, Any]:
    return {
        "name": thing.names[1],
        "load_balancer": reference(thing.ids[0], thing.names[0]),
        **{key: thing.document.get(key, default) for key, default in _DEFAULTS.items()},
        "rules": catalogue.count_below(thing),
        "not_served_because": catalogue.outline.unserved.get(thing.key),
    }


def _rule(catalogue: Catalogue, thing: Thing) -> dict[str, Any]:
    domain, _, url = thing.names[2].partition(" ")
    return {
        "load_balancer": reference(thing.ids[0], thing.names[0]),
        "listener": reference(thing.ids[1], thing.names[1]),
        "domain": domain,
        "url": url,
        "default": bool(thing.document.get("default", False)),
        "targets": catalogue.count_below(thing),
    }


def _target(node: Node, thing: Thing) -> dict[str, Any]:
    since = node.target_since(thing.key)
    weight = int(thing.document.get("weight", DEFAULT_WEIGHT))
    override = thing.override
    return {
        "load_balancer": reference(thing.ids[0], thing.names[0]),
        "listener": reference(thing.ids[1], thing.names[1]),
        "rule": reference(thing.ids[2], thing.names[2]),
        "address": str(thing.document["address"]),
        "port": int(thing.document["port"]),
        "weight": 0 if thing.draining else weight,
        "draining": thing.draining,
        "overridden": override is not None and (override.draining or override.weight is not None),
        "health": node.target_state(thing.key).name.lower(),
        "health_since": _when(since),
        "requests_in_flight": in_flight(node, thing.key),
    }


def in_flight(node: Node, key: str) -> int:
    """Requests that a target works on, by its key."""
    row = node.outline.rows.get(key)
    return 0 if row is None else max(0, node.cells.total(row, TargetField.IN_FLIGHT))


def _when(seconds: float | None) -> datetime | None:
    return utc(seconds) if seconds is not None else None
