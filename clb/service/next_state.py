"""The state that a write leads to, made beside the one in service.

Owns:      from an inventory to an outline and the keys that are new in it; what is kept between two writes.
Elsewhere: its parts (stored_models.py, merging.py, stored_certificates.py, outline_parts.py); applying.py.

What a write has nothing to do with is the same object before and after, so only what it touches is checked, compared,
written and sent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from clb.certificates.keyring import Keyring
from clb.config.models import Config, Listener
from clb.control.writer import CannotServe, Problem
from clb.metering.cells import listener_key
from clb.service.bundle import CertificateFacts, Outline, StoredCertificate
from clb.service.merging import FilePart, Merged, left_out, merge, problems, without_listeners
from clb.service.outline_parts import Differences, differences, session_fingerprint
from clb.service.stored_certificates import Opened, Unusable, open_certificate
from clb.service.stored_models import ModelFaults, StoredModels
from clb.service.stored_models import Problem as StoredProblem
from clb.store.inventory import Inventory
from clb.tls.contexts import Identity

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in service, as it was put together."""

    outline: Outline
    file: FilePart
    stored: StoredModels
    merged: Merged

    @classmethod
    def of(cls, outline: Outline, inventory: Inventory) -> Standing:
        """Take an outline apart that somebody else made; `inventory` is what the store had, if that is known."""
        file = FilePart.of(outline.config, outline.aliases, outline.overrides)
        balancers = [balancer for balancer in outline.config.load_balancers if balancer.stored is not None]
        is_known = inventory.revision == outline.revision
        stored = StoredModels.known(inventory, balancers) if is_known else StoredModels()
        return cls(outline, file, stored, Merged(outline.config, {}))


@dataclass(frozen=True, slots=True)
class NextState:
    """What would be in service. `outline` lacks rows and bases for what is new, which only the supervisor gives."""

    standing: Standing
    """As it would be."""
    differences: Differences
    bases: Mapping[str, str]
    """Fingerprints of listeners whose sessions stand on something new, by `listener_key`."""
    identities: Mapping[str, Identity] = field(repr=False)
    """Those that are new, by the certificate's name."""
    is_same: bool
    """Whether nothing changes for traffic."""

    @property
    def outline(self) -> Outline:
        """Of the standing."""
        return self.standing.outline

    def numbered(self, rows: Mapping[str, int], bases: Mapping[str, int]) -> NextState:
        """With rows and bases for what is new."""
        outline, gone = self.outline, self.differences.gone_rows
        kept = dict(outline.rows)
        for key in gone:
            kept.pop(key, None)
        changed = bool(gone or rows)
        known = {**outline.bases, **bases}
        for key in self.differences.gone_listeners:
            known.pop(key, None)
        outline = replace(outline, rows={**kept, **rows} if changed else outline.rows, bases=known)
        return replace(self, standing=replace(self.standing, outline=outline))


def next_state(
    now: Standing, inventory: Inventory, keyring: Callable[[], Keyring | None]
) -> Generator[None, None, NextState]:
    """Make it, in steps.

    Raises:
        CannotServe: it is not sound.
        KeyringFault: a key cannot be opened because the keyring is missing or another one.
    """
    try:
        stored = yield from now.stored.after(inventory, now.outline.config)
    except ModelFaults as fault:
        raise _refusal(fault.problems) from fault
    yield
    merged = merge(now.file, stored, now.merged)
    yield
    old = now.outline
    if merged.certificates is now.merged.certificates and stored.is_same_but_targets and not old.unserved:
        # Targets alone, the usual write: nothing else can be wrong or other.
        outline = replace(old, config=merged.config, revision=inventory.revision)
        found = differences(old.config, merged.config)
        yield
        return NextState(Standing(outline, now.file, stored, merged), found, {}, {}, _is_same(old, outline))
    if faults := list(problems(now.file, stored)):
        raise _refusal(faults)
    yield
    certificates = yield from _certificates(now.outline, merged, keyring)
    unserved = left_out(merged, certificates.quarantined)
    merged = without_listeners(merged, unserved)
    outline = replace(
        old,
        config=merged.config,
        certificates=_same(old.certificates, certificates.facts),
        authorities=_same(old.authorities, certificates.authorities),
        stored_certificates=_same(old.stored_certificates, certificates.stored),
        overrides=_same(old.overrides, merged.overrides),
        quarantined=_same(old.quarantined, certificates.quarantined),
        unserved=_same(old.unserved, unserved),
        revision=inventory.revision,
    )
    yield
    found_differences = differences(old.config, merged.config)
    yield
    return NextState(
        Standing(outline, now.file, stored, merged),
        found_differences,
        _new_bases(old, outline, found_differences),
        certificates.opened,
        _is_same(old, outline),
    )


def _refusal(found: Iterable[StoredProblem]) -> CannotServe:
    return CannotServe([Problem(each.where, each.key, each.message) for each in found])


@dataclass(frozen=True, slots=True)
class _Certificates:
    facts: dict[str, CertificateFacts]
    authorities: dict[str, bytes]
    stored: dict[str, StoredCertificate]
    quarantined: dict[str, str]
    opened: dict[str, Identity] = field(default_factory=dict, repr=False)


def _certificates(
    old: Outline, merged: Merged, keyring: Callable[[], Keyring | None]
) -> Generator[None, None, _Certificates]:
    """Those of the file as they are, and those of the store that are in use, opened where they are new."""
    stored = old.stored_certificates
    found = _Certificates(
        {name: each for name, each in old.certificates.items() if name not in stored},
        {name: each for name, each in old.authorities.items() if name not in stored},
        {},
        {},
    )
    for name, certificate in merged.certificates.items():
        found.stored[name] = wanted = StoredCertificate(certificate.id, certificate.generation)
        if stored.get(name) == wanted:
            _keep(old, name, found)
            continue
        try:
            _take(name, open_certificate(certificate, keyring()), found)
        except Unusable as fault:
            found.quarantined[name] = str(fault)
        yield
    return found


def _keep(old: Outline, name: str, found: _Certificates) -> None:
    if name in old.certificates:
        found.facts[name] = old.certificates[name]
    elif name in old.authorities:
        found.authorities[name] = old.authorities[name]
    else:
        found.quarantined[name] = old.quarantined.get(name, "it cannot be used")


def _take(name: str, opened: Opened, found: _Certificates) -> None:
    if opened.authority is not None:
        found.authorities[name] = opened.authority
    if opened.facts is not None and opened.identity is not None:
        found.facts[name] = opened.facts
        found.opened[name] = opened.identity


def _new_bases(old: Outline, new: Outline, found: Differences) -> dict[str, str]:
    """Fingerprints of https listeners that are new, or whose sessions were checked against something else."""
    before = _listeners(old.config)
    changed = dict(found.listeners)
    if old.authorities is not new.authorities:
        after = _listeners(new.config)
        changed.update({key: each for key, each in after.items() if each.ssl_mode == "mutual"})
    prints = {}
    for key, listener in changed.items():
        if listener.protocol != "https":
            continue
        wanted = _fingerprint(new, key, listener)
        was = before.get(key)
        if was is None or was.protocol != "https" or key not in old.bases or _fingerprint(old, key, was) != wanted:
            prints[key] = wanted
    return prints


def _listeners(config: Config) -> dict[str, Listener]:
    return {
        listener_key(balancer.name, listener.name): listener
        for balancer in config.served
        for listener in balancer.listeners
    }


def _fingerprint(outline: Outline, key: str, listener: Listener) -> str:
    balancer, _, name = key.partition("/")
    return session_fingerprint(listener, outline.authorities, outline.revocations.get((balancer, name)))


def _same(old: _Value, new: _Value) -> _Value:
    """The old object, if the new one is equal to it."""
    return old if old == new else new


def _is_same(old: Outline, new: Outline) -> bool:
    """Whether traffic would not notice."""
    balancers = (old.config.load_balancers, new.config.load_balancers)
    return (
        len(balancers[0]) == len(balancers[1])
        and all(a is b for a, b in zip(*balancers, strict=True))
        and old.config.certificates == new.config.certificates
        and old.certificates is new.certificates
        and old.authorities is new.authorities
        and old.stored_certificates is new.stored_certificates
        and old.overrides is new.overrides
        and old.quarantined is new.quarantined
    )
