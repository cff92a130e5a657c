"""The whole state of a node as a configuration file.

Owns:      what is in it: the file's part by its own weights, the store's as copies that name what they are copies of.
Elsewhere: values in the form of a file (config/document_of.py); reading it again (inspection.py).

On the same store its use changes nothing: overrides stay where they are, keys stay sealed in the store, and a copy is
only looked at. Secrets of the file (the store's URL, the keyring's place, the secret of notices) are not in it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import yaml

from clb.config.document_of import document_of
from clb.config.models import Config, LoadBalancer
from clb.service.bundle import Outline
from clb.service.merging import FilePart, names_of
from clb.service.stored_models import StoredModels
from clb.store.inventory import Inventory

SECTIONS: Final = ("node", "admin", "store", "keyring", "notify", "ledger")
"""Of the node itself; some of their keys are secrets."""
_LEFT_OUT: Final = {
    "store": "store.url",
    "keyring": "keyring.env or keyring.command",
    "notify": "notify.secret",
}
_HEAD: Final = "# Written by clb export at revision {revision} of the store.\n"


def export_in_steps(outline: Outline, inventory: Inventory) -> Generator[None, None, str]:
    """Write it; the generator's return value is the text.

    Raises:
        ModelFaults: what the store has is not sound, so no copy of it would be.
    """
    file = FilePart.of(outline.config, outline.aliases, outline.overrides)
    stored = yield from StoredModels().after(inventory, outline.config)
    balancers = (*file.config.load_balancers, *stored.balancers)
    document: dict[str, Any] = {name: each for name in SECTIONS if (each := document_of(getattr(file.config, name)))}
    document["certificates"] = _certificates(file.config, balancers, inventory)
    yield
    document["load_balancers"] = []
    for balancer in balancers:
        document["load_balancers"] += [(yield from _balancer(balancer))]
    text = [_HEAD.format(revision=inventory.revision), *_remarks(file.config)]
    for key, value in document.items():
        if value:
            text.append((yield from _dumped(key, value)))
    return "".join(text)


def _certificates(config: Config, balancers: tuple[LoadBalancer, ...], inventory: Inventory) -> dict[str, Any]:
    """Those of the file, and those of the store that a load balancer names."""
    found = {name: document_of(each) for name, each in config.certificates.items()}
    stored = {each.name: each for each in inventory.certificates.values()}
    for balancer in balancers:
        for listener in balancer.listeners:
            for name in names_of(listener):
                if name not in found and name in stored:
                    found[name] = {"type": stored[name].type, "stored": stored[name].id}
    return found


def _balancer(balancer: LoadBalancer) -> Generator[None, None, dict[str, Any]]:
    document = document_of(balancer.model_copy(update={"listeners": ()}))
    document["listeners"] = []
    for listener in balancer.listeners:
        written = document_of(listener.model_copy(update={"rules": ()}))
        written["rules"] = []
        for rule in listener.rules:
            written["rules"].append(document_of(rule))
            yield
        document["listeners"].append(written)
    return document


def _dumped(key: str, value: Any) -> Generator[None, None, str]:
    """One section, a load balancer at a time: the largest step is one of those."""
    if not isinstance(value, list):
        return _yaml({key: value})
    pieces = [f"{key}:\n"]
    for item in value:
        pieces.append(_yaml([item]))
        yield
    return "".join(pieces)


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)


def _remarks(config: Config) -> list[str]:
    """What is to be put in by hand."""
    missing = [words for name, words in _LEFT_OUT.items() if _has_secret(getattr(config, name))]
    return [f"# Take {words} from the present file: it is a secret, and not written here.\n" for words in missing]


def _has_secret(section: Any) -> bool:
    return any(name not in document_of(section) for name in section.model_fields_set if getattr(section, name))
