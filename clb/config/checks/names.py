"""Names are unique, and what is referred to exists and is of the right type.

Owns:      certificates as a whole, names of load balancers and listeners, references to certificates.
Elsewhere: whether the files behind a certificate are any good (service/materials.py).
Pure:      plain data in, problems out.
"""

from __future__ import annotations

from collections.abc import Iterator

from clb.config.checks.view import View
from clb.config.faults import Path, Problem, did_you_mean, quote
from clb.config.models import Certificate


def check_certificates(root: View) -> Iterator[Problem]:
    """A server certificate has a private key, a CA certificate has none; what is stored has no files."""
    for _, certificate in root.view("certificates").named():
        kind, has_key = certificate.text("type"), certificate.given("private_key")
        if certificate.given("stored"):
            for key in ("certificate", "private_key"):
                if certificate.given(key):
                    yield Problem(certificate.at(key), f"stands beside stored; remove {key} or stored", "key")
            continue
        keys = {key for key, _ in certificate.named()}
        # A key that is misspelt or of another kind is said by the model, and is no second fault.
        if kind in ("server", "ca") and "certificate" not in keys and keys <= Certificate.model_fields.keys():
            yield Problem(certificate.at("certificate"), "is missing; it has no default")
        if kind == "server" and not has_key:
            yield Problem(certificate.at("private_key"), "is missing; a server certificate needs its private key")
        if kind == "ca" and has_key:
            message = "a CA certificate only checks clients and needs no key; remove private_key"
            yield Problem(certificate.at("private_key"), message, "key")


def check_names(root: View) -> Iterator[Problem]:
    """Load balancers differ by name, and so do the listeners of each."""
    balancers = root.views("load_balancers")
    yield from _duplicates("load balancer", [(_balancer_name(view), view) for view in balancers])
    for balancer in balancers:
        listeners = [(_listener_name(view), view) for view in balancer.views("listeners")]
        yield from _duplicates("listener", listeners)


def check_references(root: View) -> Iterator[Problem]:
    """Every certificate that a listener names is declared, as what it is used for."""
    types = {name: view.text("type") for name, view in root.view("certificates").named()}
    for balancer in root.views("load_balancers"):
        for listener in balancer.views("listeners"):
            for name, path, wanted in _references(listener):
                if message := _bad_reference(name, wanted, types):
                    yield Problem(path, message)


def _references(listener: View) -> Iterator[tuple[str, Path, str]]:
    for key, wanted in (("certificate", "server"), ("ca_certificate", "ca")):
        if (name := listener.text(key)) is not None:
            yield name, listener.at(key), wanted
    for index, item in enumerate(listener.items("certificates")):
        if isinstance(item, str):
            yield item, listener.at("certificates", index), "server"


def _bad_reference(name: str, wanted: str, types: dict[str, str | None]) -> str | None:
    if name not in types:
        fitting = [known for known, kind in types.items() if kind == wanted]
        meant = did_you_mean(name, fitting) or did_you_mean(name, types)
        hint = f'did you mean "{meant}"?' if meant else 'declare it under "certificates"'
        return f"no certificate is called {quote(name)}; {hint}"
    if types[name] not in ("server", "ca") or types[name] == wanted:
        return None
    if wanted == "server":
        return f"{quote(name)} is a CA certificate; a listener shows one of type server"
    return f"{quote(name)} is a server certificate; clients are checked against one of type ca"


def _balancer_name(balancer: View) -> str | None:
    return balancer.text("name", f"lb-{int(balancer.path[-1]) + 1}")


def _listener_name(listener: View) -> str | None:
    protocol, port = listener.text("protocol", "https"), listener.number("port", 443)
    return listener.text("name", f"{protocol}-{port}")


def _duplicates(what: str, named: list[tuple[str | None, View]]) -> Iterator[Problem]:
    first: dict[str, View] = {}
    for name, view in named:
        if name is None:
            continue
        if name in first:
            position = int(first[name].path[-1]) + 1
            message = f"the {what} at position {position} is called {quote(name)} too; give each its own name"
            yield Problem(view.at("name"), message)
        first.setdefault(name, view)
