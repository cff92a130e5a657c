"""Decide what a write to a certificate is, on whichever inventory it comes to.

Owns:      upload, rename, removal, replacement, rollback and the move to another key, as pure decisions.
Elsewhere: judging what was sent (certificates/upload.py); the rehearsal of a swap, which takes a while and is done
           before (certificate_swap.py); carrying a decision out (writer.py); the routes (certificates.py).
Pure:      a catalog and a request in, a draft or an ApiFault out. Randomness is the keyring's and of new ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from clb.certificates.keyring import Keyring, KeyringFault
from clb.certificates.lifecycle import State, state
from clb.certificates.upload import Finding, Sound, Upload, judge
from clb.control.certificate_catalog import Catalog
from clb.control.certificate_faults import (
    bound,
    declared_in_file,
    judged_unsound,
    keyring_unusable,
    name_taken,
    not_found,
    nothing_to_roll_back_to,
    owned_by_file,
    previous_needs_force,
    renaming_breaks_file,
)
from clb.control.certificate_uses import Use, renamed
from clb.store.inventory import CERTIFICATE_PREFIX, Certificate, Inventory, Material, Write, new_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """A write, and what is to be told of it."""

    write: Write
    before: Certificate | None
    after: Certificate | None
    warnings: tuple[Finding, ...] = ()
    uses: Sequence[Use] = ()


Sealing = Callable[[Inventory], Keyring]
"""Gives the keyring to seal with; raises KeyringFault."""


def find(catalog: Catalog, certificate_id: str) -> Certificate:
    """A certificate of the store that may be written to.

    Raises:
        ApiFault: there is none, or a file owns it.
    """
    found = catalog.inventory.certificates.get(certificate_id)
    if found is not None:
        return found
    if (of_file := catalog.of_file(certificate_id)) is not None:
        raise owned_by_file(of_file.name)
    raise not_found()


def upload(catalog: Catalog, name: str, given: Upload, sealing: Sealing, now: datetime) -> Outcome:
    """Store a new one.

    Raises:
        ApiFault: it is not sound, its name is taken, or there is no keyring.
    """
    _refuse_taken(catalog, name)
    sound, warnings = _judged(catalog, given, now)
    certificate_id = new_id(CERTIFICATE_PREFIX)
    certificate = Certificate(
        id=certificate_id,
        name=name,
        type=sound.type,
        material=_material(sound, certificate_id, 1, sealing, catalog.inventory),
        previous=None,
        generation=1,
        previous_generation=None,
        forced=_is_forced(sound, now),
        version=1,
        created_at=now,
        updated_at=now,
    )
    return Outcome(Write(certificates=(certificate,)), None, certificate, warnings)


def rename(catalog: Catalog, certificate: Certificate, name: str, now: datetime) -> Outcome:
    """Give it another name, and all listeners of the store that use it in the same write.

    Raises:
        ApiFault: the name is taken, or a listener of the file refers to the old one.
    """
    if name == certificate.name:
        return Outcome(Write(), certificate, certificate)
    _refuse_taken(catalog, name)
    uses = catalog.used_by(certificate)
    # A name that the file gives by itself (`stored: ID`) stays.
    given = catalog.given.get(certificate.id, ())
    if of_file := [use for use in uses if use.owner == "file" and use.certificate not in given]:
        raise renaming_breaks_file(certificate.name, of_file)
    entries = []
    for listener_id in dict.fromkeys(use.listener_id for use in uses if use.listener_id is not None):
        entry = catalog.inventory.entries[listener_id]
        document = renamed(entry.document, certificate.name, name)
        entries.append(replace(entry, document=document, version=entry.version + 1, updated_at=now))
    after = replace(certificate, name=name, version=certificate.version + 1, updated_at=now)
    return Outcome(Write(entries=tuple(entries), certificates=(after,)), certificate, after, (), uses)


def remove(catalog: Catalog, certificate: Certificate) -> Outcome:
    """Remove one that no listener uses and no file refers to.

    Raises:
        ApiFault: some do; they are named.
    """
    if uses := catalog.used_by(certificate):
        raise bound(certificate.name, uses)
    if given := catalog.given.get(certificate.id):
        raise declared_in_file(certificate.name, given)
    return Outcome(Write(removed_certificates=frozenset({certificate.id})), certificate, None)


def swap(catalog: Catalog, certificate: Certificate, given: Upload, sealing: Sealing, now: datetime) -> Outcome:
    """Put another generation in its place, on every listener that uses it.

    Raises:
        ApiFault: it is not sound, or there is no keyring.
    """
    uses = catalog.used_by(certificate)
    domains = [domain for use in uses if len(use.shown) == 1 for domain in use.domains]
    sound, warnings = _judged(catalog, given, now, domains)
    generation = certificate.generation + 1
    material = _material(sound, certificate.id, generation, sealing, catalog.inventory)
    return _swapped(certificate, material, _is_forced(sound, now), uses, warnings, now)


def roll_back(
    catalog: Catalog, certificate: Certificate, opening: Callable[[], Keyring], now: datetime, *, force: bool
) -> Outcome:
    """Take the previous generation into service again, as a new one; another rollback undoes it.

    Raises:
        ApiFault: there is none, it is out of its dates, or its key does not open.
    """
    previous, number = certificate.previous, certificate.previous_generation
    if previous is None or number is None:
        raise nothing_to_roll_back_to(certificate.name)
    dates = state(previous.not_before, previous.not_after, now)
    is_out_of_date = dates in (State.EXPIRED, State.PENDING)
    if is_out_of_date and not force:
        raise previous_needs_force(certificate.name, dates, previous.not_before, previous.not_after)
    generation = certificate.generation + 1
    material = previous
    if previous.sealed_key is not None:
        try:
            keyring = opening()
            key = keyring.open(previous.sealed_key, certificate.id, number, previous.chain_pem)
            sealed = keyring.seal(key, certificate.id, generation, previous.chain_pem)
            material = replace(previous, sealed_key=sealed)
        except KeyringFault as fault:
            raise keyring_unusable(fault) from fault
    return _swapped(certificate, material, is_out_of_date, catalog.used_by(certificate), (), now)


def _swapped(
    certificate: Certificate,
    material: Material,
    forced: bool,
    uses: Sequence[Use],
    warnings: tuple[Finding, ...],
    now: datetime,
) -> Outcome:
    after = replace(
        certificate,
        material=material,
        previous=certificate.material,
        generation=certificate.generation + 1,
        previous_generation=certificate.generation,
        forced=forced,
        version=certificate.version + 1,
        updated_at=now,
        replaced_at=now,
        notified_days=None,
    )
    return Outcome(Write(certificates=(after,)), certificate, after, warnings, uses)


# --- the keyring ---


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What moving to the current key came to."""

    write: Write
    moved: int
    left: tuple[str, ...]
    """Certificates with a key that does not open, and why."""


def rewrap(inventory: Inventory, keyring: Keyring) -> Rewrapped:
    """Move every stored key to the current key of the keyring; what does not open stays as it is."""
    changed, left, moved = [], [], 0
    for certificate in inventory.certificates.values():
        try:
            material = _rewrapped(certificate.material, certificate.id, certificate.generation, keyring)
            previous = certificate.previous
            if previous is not None:
                previous = _rewrapped(previous, certificate.id, certificate.previous_generation or 0, keyring)
        except KeyringFault as fault:
            left.append(f"{certificate.name} ({certificate.id}): {fault}")
            continue
        count = (material is not certificate.material) + (previous is not certificate.previous)
        if count:
            moved += count
            # What is shown of it stays the same, so its version does.
            changed.append(replace(certificate, material=material, previous=previous))
    return Rewrapped(Write(certificates=tuple(changed)), moved, tuple(left))


def _rewrapped(material: Material, certificate_id: str, generation: int, keyring: Keyring) -> Material:
    if material.sealed_key is None:
        return material
    sealed = keyring.rewrap(material.sealed_key, certificate_id, generation)
    return material if sealed is material.sealed_key else replace(material, sealed_key=sealed)


# --- parts ---


def _refuse_taken(catalog: Catalog, name: str) -> None:
    if (taken := catalog.inventory.certificate_named(name)) is not None:
        raise name_taken(name, f"certificate {taken.id}")
    if catalog.named_in_file(name):
        raise name_taken(name, "a certificate of the configuration file")


def _judged(
    catalog: Catalog, given: Upload, now: datetime, domains: Sequence[str] = ()
) -> tuple[Sound, tuple[Finding, ...]]:
    verdict = judge(given, catalog.known(), domains, now)
    if verdict.sound is None:
        raise judged_unsound(verdict.errors)
    return verdict.sound, verdict.warnings


def _material(sound: Sound, certificate_id: str, generation: int, sealing: Sealing, inventory: Inventory) -> Material:
    sealed, chain = None, sound.chain_pem.decode("ascii")
    if sound.private_key_pem is not None:
        try:
            sealed = sealing(inventory).seal(sound.private_key_pem, certificate_id, generation, chain)
        except KeyringFault as fault:
            raise keyring_unusable(fault) from fault
    description = sound.description
    return Material(
        chain_pem=chain,
        sealed_key=sealed,
        fingerprint=description.fingerprint,
        key_digest=description.key_digest,
        not_before=description.not_before,
        not_after=description.not_after,
    )


def _is_forced(sound: Sound, now: datetime) -> bool:
    return state(sound.description.not_before, sound.description.not_after, now) in (State.EXPIRED, State.PENDING)
