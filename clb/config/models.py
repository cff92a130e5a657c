"""The whole configuration of one node, as frozen models: a public contract (docs/configuration.md).

Owns:      the root, certificates and load balancers; names every other model for its users.
Elsewhere: node.py, listeners.py and rules.py hold the parts; what keys say together (checks/).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from clb.config.fields import File, FrozenModel, Name, Names, ShortText, StoredId
from clb.config.limits import Access, InFlight, NodeLimits, RateCap, RateLimit
from clb.config.listeners import Limits, Listener, ProxyProtocol, Timeouts
from clb.config.node import AccessLog, Admin, KeyPair, Keyring, Ledger, Node, Notify, Store
from clb.config.rules import HashOn, HealthCheck, Passive, Pool, Redirect, Retry, Rule, Session, Target

__all__ = [
    "Access",
    "AccessLog",
    "Admin",
    "Certificate",
    "Config",
    "HashOn",
    "HealthCheck",
    "InFlight",
    "KeyPair",
    "Keyring",
    "Ledger",
    "Limits",
    "Listener",
    "LoadBalancer",
    "Node",
    "NodeLimits",
    "Notify",
    "Passive",
    "Pool",
    "ProxyProtocol",
    "RateCap",
    "RateLimit",
    "Redirect",
    "Retry",
    "Rule",
    "Session",
    "Store",
    "Target",
    "Timeouts",
]


class Certificate(FrozenModel):
    """PEM files, or an object of the store, named once and referred to by any number of listeners."""

    type: Literal["server", "ca"]
    certificate: File | None = None
    private_key: File | None = None
    """A server certificate has one, a CA certificate must not."""
    stored: StoredId | None = None
    """In place of both files: a certificate that was uploaded through the management API."""


class LoadBalancer(FrozenModel):
    """A group of listeners that belong together."""

    name: Name
    """By default `lb-1` for the first of the file, and so on."""
    region: Names | None = None
    """One or several; by default the node's."""
    labels: dict[Name, ShortText] = Field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    stored: StoredId | None = None
    """The load balancer was made through the management API, and this is a copy of it, as `clb export` writes them."""

    def serves(self, regions: Collection[str]) -> bool:
        """Whether a node of these regions serves it."""
        return self.region is None or any(region in regions for region in self.region)


class Config(FrozenModel):
    """One file."""

    node: Node = Node()
    admin: Admin = Admin()
    store: Store = Store()
    keyring: Keyring = Keyring()
    notify: Notify = Notify()
    ledger: Ledger = Ledger()
    certificates: dict[Name, Certificate] = Field(default_factory=dict)
    load_balancers: tuple[LoadBalancer, ...] = ()

    @property
    def served(self) -> tuple[LoadBalancer, ...]:
        """The load balancers of this node's regions."""
        return tuple(lb for lb in self.load_balancers if lb.serves(self.node.region))

    @model_validator(mode="before")
    @classmethod
    def _number_the_nameless(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("load_balancers"), list | tuple):
            return raw
        return {**raw, "load_balancers": tuple(map(_named, raw["load_balancers"], range(1, 1_000_000)))}


def _named(raw: Any, number: int) -> Any:
    if not isinstance(raw, Mapping) or raw.get("name") is not None:
        return raw
    return {**raw, "name": f"lb-{number}"}
