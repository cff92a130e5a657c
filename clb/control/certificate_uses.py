"""Where certificates are used: by listeners of the file and of the store, in any region.

Owns:      finding the uses, and what each listener does with a certificate.
Elsewhere: certificates themselves (certificates/); what a swap would break there (certificates/rehearsal.py).
Pure:      a configuration and an inventory in, values out. Names of certificates are those that listeners write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clb.config.models import Config, Listener, LoadBalancer
from clb.store.inventory import Entry, Inventory, Kind
from clb.tls.contexts import Verify

Owner = Literal["api", "file"]
Purpose = Literal["certificate", "ca_certificate"]


@dataclass(frozen=True, slots=True)
class Use:
    """One listener that uses a certificate."""

    certificate: str
    """The name by which the listener refers to it."""
    purpose: Purpose
    load_balancer: str
    listener: str
    owner: Owner
    """Of the load balancer."""
    load_balancer_id: str | None
    """None of one that a file owns."""
    listener_id: str | None
    regions: tuple[str, ...] | None
    """None: the region of whichever node has it."""
    policy: str
    verify: Verify
    shown: tuple[str, ...]
    """Names of all server certificates of the listener, the default first."""
    domains: tuple[str, ...]
    """Of its rules, each once."""
    has_revocations: bool

    @property
    def where(self) -> str:
        """As it is named to people."""
        return f"load balancer {self.load_balancer}, listener {self.listener}"


def all_uses(config: Config, inventory: Inventory) -> dict[str, list[Use]]:
    """Every use, by the certificate's name: those of the file first, each in order."""
    found: dict[str, list[Use]] = {}
    for use in (*_of_file(config), *_of_store(inventory)):
        found.setdefault(use.certificate, []).append(use)
    return found


def _of_file(config: Config) -> Iterator[Use]:
    for balancer in config.load_balancers:
        if balancer.stored is None:
            for listener in balancer.listeners:
                yield from _of_listener(balancer, listener)


def _of_listener(balancer: LoadBalancer, listener: Listener) -> Iterator[Use]:
    is_mutual = listener.ssl_mode == "mutual"
    # Once for all certificates: there may be thousands of each.
    domains = tuple(dict.fromkeys(rule.domain for rule in listener.rules))
    for purpose, name in _references(listener.certificate_names, listener.ca_certificate if is_mutual else None):
        yield Use(
            certificate=name,
            purpose=purpose,
            load_balancer=balancer.name,
            listener=listener.name,
            owner="file",
            load_balancer_id=None,
            listener_id=None,
            regions=balancer.region,
            policy=listener.tls_policy,
            verify=listener.verify_client if is_mutual else "off",
            shown=listener.certificate_names,
            domains=domains,
            has_revocations=listener.crl is not None,
        )


def _of_store(inventory: Inventory) -> Iterator[Use]:
    for balancer in inventory.of_parent(None):
        for listener in inventory.of_parent(balancer.id):
            if listener.kind is Kind.LISTENER:
                yield from _of_entry(inventory, balancer, listener)


def _of_entry(inventory: Inventory, balancer: Entry, listener: Entry) -> Iterator[Use]:
    document = listener.document
    shown = shown_names(document)
    is_mutual = document.get("ssl_mode") == "mutual"
    rules = [each.document for each in inventory.of_parent(listener.id)]
    domains = tuple(dict.fromkeys(str(rule["domain"]) for rule in rules if "domain" in rule))
    for purpose, name in _references(shown, document.get("ca_certificate")):
        yield Use(
            certificate=name,
            purpose=purpose,
            load_balancer=balancer.key,
            listener=listener.key,
            owner="api",
            load_balancer_id=balancer.id,
            listener_id=listener.id,
            regions=_regions(balancer.document.get("region")),
            policy=str(document.get("tls_policy", "documented")),
            verify=_verify(document.get("verify_client", "required")) if is_mutual else "off",
            shown=shown,
            domains=domains,
            has_revocations=document.get("crl") is not None,
        )


def shown_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the server certificates of a stored listener, the default first."""
    several = document.get("certificates") or ()
    return tuple(map(str, several)) or ((str(document["certificate"]),) if document.get("certificate") else ())


def renamed(document: Mapping[str, Any], old: str, new: str) -> Mapping[str, Any]:
    """A stored listener's document that refers to a certificate by its new name."""
    changed = dict(document)
    for key in ("certificate", "ca_certificate"):
        if changed.get(key) == old:
            changed[key] = new
    if changed.get("certificates"):
        changed["certificates"] = [new if name == old else name for name in changed["certificates"]]
    return changed


def _references(shown: tuple[str, ...], authority: str | None) -> Iterator[tuple[Purpose, str]]:
    for name in shown:
        yield "certificate", name
    if authority:
        yield "ca_certificate", authority


def _regions(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _verify(value: Any) -> Verify:
    return "optional" if value == "optional" else "required"
