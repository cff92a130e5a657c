"""All that can be said of a configuration: of the file, of what it points to, and of what the store adds.

Owns:      putting file and store together for a start, a reload and `clb check`; copies of stored load balancers.
Elsewhere: the file with its certificates (materials.py); the store (loader_store.py); the rules of it (merging.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from clb.certificates.keyring import KeyringFault
from clb.config.faults import Problem as FileProblem
from clb.config.faults import quote
from clb.config.models import Config
from clb.service.bundle import CertificateFacts
from clb.service.loader_store import Secret, StoreContents, read_keyring, read_store
from clb.service.materials import Inspection, Materials, inspect
from clb.service.merging import FilePart, Merged, left_out, merge, problems, without_listeners
from clb.service.steps import at_once
from clb.service.stored_certificates import Opened, Unusable, facts_of, open_certificate
from clb.service.stored_models import ModelFaults, Problem, StoredModels


@dataclass(frozen=True, slots=True)
class Whole:
    """The file's inspection, and everything together if nothing is wrong."""

    inspection: Inspection
    faults: tuple[str, ...]
    """All of them, as lines."""
    warnings: tuple[str, ...]
    merged: Merged | None = None
    opened: Mapping[str, Opened] = field(default_factory=dict, repr=False)
    """Certificates of the store that are in use, by name."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    unserved: Mapping[str, str] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()
    revision: int = 0
    secret: Secret | None = field(default=None, repr=False)

    @property
    def facts(self) -> dict[str, CertificateFacts]:
        """Server certificates of both, by name."""
        found = {name: facts_of(certificate) for name, certificate in self.materials.servers.items()}
        return found | {name: each.facts for name, each in self.opened.items() if each.facts is not None}

    @property
    def materials(self) -> Materials:
        """Of the file; only if nothing is wrong."""
        assert self.inspection.materials is not None
        return self.inspection.materials


def inspect_whole(path: Path, *, may_prepare: bool, now: datetime | None = None) -> Whole:
    """Look at everything. Faults of the file hide those of the store, which depend on it."""
    inspection = inspect(path, now=now)
    warnings = tuple(map(str, inspection.warnings))
    config = inspection.config
    if config is None or inspection.materials is None:
        return Whole(inspection, tuple(map(str, inspection.faults)), warnings)
    contents = read_store(config, may_prepare=may_prepare)
    warnings += contents.warnings
    if contents.faults:
        return Whole(inspection, contents.faults, warnings)
    return _together(inspection, config, contents, warnings)


def _together(inspection: Inspection, config: Config, contents: StoreContents, warnings: tuple[str, ...]) -> Whole:
    own = tuple(balancer for balancer in config.load_balancers if balancer.stored is None)
    file = FilePart(config.model_copy(update={"load_balancers": own}))
    inventory = contents.inventory
    try:
        stored = at_once(StoredModels().after(inventory, config))
    except ModelFaults as fault:
        return Whole(inspection, tuple(_lines(fault.problems)), warnings)
    faults = list(_lines(problems(file, stored))) if contents.is_known else []
    if contents.is_known:
        faults += _wrong_copies(inspection, config, stored)
    if faults:
        return Whole(inspection, tuple(faults), warnings)
    merged = merge(file, stored)
    try:
        is_needed = any(each.material.sealed_key is not None for each in merged.certificates.values())
        secret = read_keyring(config, is_needed=is_needed)
        opened, quarantined = _open(merged, secret)
    except KeyringFault as fault:
        return Whole(inspection, (f"keyring: {fault} ({fault.code})",), warnings)
    unserved = left_out(merged, quarantined)
    warnings += tuple(f"store: certificate {name} is under quarantine: {why}" for name, why in quarantined.items())
    warnings += tuple(f"store: listener {key} is not served: {why}" for key, why in unserved.items())
    return Whole(
        inspection,
        (),
        warnings,
        without_listeners(merged, unserved),
        opened,
        quarantined,
        unserved,
        file.aliases,
        inventory.revision,
        secret,
    )


def _open(merged: Merged, secret: Secret | None) -> tuple[dict[str, Opened], dict[str, str]]:
    keyring = secret.keyring if secret is not None else None
    opened, quarantined = {}, {}
    for name, certificate in merged.certificates.items():
        try:
            opened[name] = open_certificate(certificate, keyring)
        except Unusable as fault:
            quarantined[name] = str(fault)
    return opened, quarantined


def _lines(found: Iterator[Problem] | tuple[Problem, ...]) -> Iterator[str]:
    for problem in found:
        key = f"{problem.key}: " if problem.key else ""
        yield f"store: {problem.where}: {key}{problem.message}"


def _wrong_copies(inspection: Inspection, config: Config, stored: StoredModels) -> Iterator[str]:
    """Copies of stored load balancers that are not what the store has."""
    known = {balancer.stored: balancer for balancer in stored.balancers}
    for number, balancer in enumerate(config.load_balancers):
        if balancer.stored is None:
            continue
        there = known.get(balancer.stored)
        if there is None:
            message = f"the store has no load balancer {balancer.stored}; remove stored, or export again"
        elif there != balancer:
            message = f"this copy is not what the store has as {quote(there.name)}; export again, or remove it"
        else:
            continue
        yield str(inspection.fault(FileProblem(("load_balancers", number, "stored"), message)))
