"""The documents of a configuration file as JSON schemas, so that the OpenAPI document says what the API takes.

Owns:      schemas for creating, for replacing and for merging into an object, and their examples.
Elsewhere: the models that they are made of (config/models.py); checks, which say more than a schema can
           (config/fragments.py).
Pure:      made once, when the app is.

A body is taken as plain data and checked by the same code as a file: its faults then name keys and say what is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

from clb.config.fields import FrozenModel
from clb.config.models import Listener, LoadBalancer, Rule, Target

_TARGET_EXAMPLE: Final = {"address": "10.0.0.5", "port": 8080, "weight": 10}
_RULE_EXAMPLE: Final = {
    "domain": "shop.example.com",
    "url": "/api/",
    "default": True,
    "health_check": {"path": "/health", "interval": "5s"},
    "targets": [_TARGET_EXAMPLE],
}
_LISTENER_EXAMPLE: Final = {"name": "https", "port": 443, "certificate": "shop-2027", "rules": [_RULE_EXAMPLE]}
_BALANCER_EXAMPLE: Final = {"name": "shop", "labels": {"tenant": "acme"}, "listeners": [_LISTENER_EXAMPLE]}
_FILE_ONLY: Final = {"LoadBalancer": ("stored",), "Listener": ("crl",)}


def _schema(model: type[FrozenModel], example: Mapping[str, Any], without: Iterable[str] = ()) -> dict[str, Any]:
    whole = model.model_json_schema(by_alias=True)
    definitions = whole.pop("$defs", {})
    for name in (model.__name__, *definitions):
        shape = whole if name == model.__name__ else definitions[name]
        for key in _FILE_ONLY.get(name, ()):
            shape["properties"].pop(key, None)
    for key in without:
        whole["properties"].pop(key, None)
    if model is Listener:
        # It is named by protocol and port if it has no name.
        whole["required"] = [key for key in whole.get("required", ()) if key != "name"]
    if model is LoadBalancer and "Listener" in definitions:
        definitions["Listener"]["required"] = []
    found: dict[str, Any] = _resolved(whole, definitions)
    return {**found, "examples": [{key: value for key, value in example.items() if key not in without}]}


def _resolved(shape: Any, definitions: Mapping[str, Any]) -> Any:
    """Put definitions where they are referred to; titles and defaults in seconds and bytes are left out."""
    if isinstance(shape, list):
        return [_resolved(each, definitions) for each in shape]
    if not isinstance(shape, dict):
        return shape
    if "$ref" in shape:
        return _resolved(definitions[shape["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in shape.items() if key not in ("title", "default") or isinstance(value, dict)}
    is_properties = "type" not in shape and "anyOf" not in shape
    if not is_properties:
        kept.pop("default", None)
        kept.pop("title", None)
    return {key: _resolved(value, definitions) for key, value in kept.items()}


def _merging(shape: Any) -> Any:
    """The same for JSON merge patch (RFC 7396): no key is required, and null removes one."""
    if not isinstance(shape, dict) or "properties" not in shape:
        return shape
    properties = {key: {"anyOf": [_merging(each), {"type": "null"}]} for key, each in shape["properties"].items()}
    return {**{key: value for key, value in shape.items() if key != "required"}, "properties": properties}


_TARGET: Final = _schema(Target, _TARGET_EXAMPLE)
_RULE_ALONE: Final = _schema(Rule, _RULE_EXAMPLE, ["targets"])
_LISTENER_ALONE: Final = _schema(Listener, _LISTENER_EXAMPLE, ["rules"])
_BALANCER_ALONE: Final = _schema(LoadBalancer, _BALANCER_EXAMPLE, ["listeners"])


def _patch(shape: dict[str, Any], **example: Any) -> WithJsonSchema:
    return WithJsonSchema({**_merging(shape), "examples": [example]})


LoadBalancerBody = Annotated[dict[str, Any], WithJsonSchema(_schema(LoadBalancer, _BALANCER_EXAMPLE))]
"""A load balancer with all that is to be below it."""
ListenerBody = Annotated[dict[str, Any], WithJsonSchema(_schema(Listener, _LISTENER_EXAMPLE))]
RuleBody = Annotated[dict[str, Any], WithJsonSchema(_schema(Rule, _RULE_EXAMPLE))]
TargetBody = Annotated[dict[str, Any], WithJsonSchema(_TARGET)]

LoadBalancerAlone = Annotated[dict[str, Any], WithJsonSchema(_BALANCER_ALONE)]
"""A load balancer's own keys."""
ListenerAlone = Annotated[dict[str, Any], WithJsonSchema(_LISTENER_ALONE)]
RuleAlone = Annotated[dict[str, Any], WithJsonSchema(_RULE_ALONE)]

LoadBalancerPatch = Annotated[dict[str, Any], _patch(_BALANCER_ALONE, labels={"tenant": "acme"})]
"""Keys to be changed."""
ListenerPatch = Annotated[dict[str, Any], _patch(_LISTENER_ALONE, timeouts={"keepalive": "30s"})]
RulePatch = Annotated[dict[str, Any], _patch(_RULE_ALONE, scheduler="least_conn", session=None)]
TargetPatch = Annotated[dict[str, Any], _patch(_TARGET, weight=50)]
