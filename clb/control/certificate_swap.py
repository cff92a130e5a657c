"""Prepare the rehearsal of a swap: which listeners, what they show now and would show then.

Owns:      making stages of uses; opening the key that is in service for it.
Elsewhere: playing them (certificates/rehearsal.py); deciding (certificate_drafts.py).
Pure:      values in, stages out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clb.certificates.keyring import Keyring, KeyringFault, SealedKeyDamaged
from clb.certificates.rehearsal import Stage
from clb.certificates.stand_ins import server_stand_in
from clb.control.certificate_catalog import Catalog, described
from clb.control.certificate_uses import Use
from clb.store.inventory import Certificate, Material
from clb.tls.contexts import Identity

Opening = Callable[[], Keyring]


def stages(catalog: Catalog, before: Certificate, after: Certificate, opening: Opening) -> list[Stage]:
    """One for each listener that uses the certificate."""
    uses = catalog.used_by(before)
    if before.type == "ca":
        return [_authority_stage(catalog, use, before.material, after.material) for use in uses]
    if not uses:
        return []
    new = _identity(after, opening)
    try:
        old = _identity(before, opening)
    except KeyringFault:
        old = None  # Nothing of it works that could break.
    return [_server_stage(catalog, use, old, new) for use in uses]


def _server_stage(catalog: Catalog, use: Use, old: Identity | None, new: Identity) -> Stage:
    companions = {name: _companion(catalog, name) for name in use.shown if name != use.certificate}
    return Stage(
        listener=f"{use.load_balancer}/{use.listener}",
        policy=use.policy,
        verify=use.verify,
        before=_shown(use, companions, old) if old is not None else None,
        after=_shown(use, companions, new),
        domains=use.domains,
    )


def _authority_stage(catalog: Catalog, use: Use, before: Material, after: Material) -> Stage:
    return Stage(
        listener=f"{use.load_balancer}/{use.listener}",
        policy=use.policy,
        verify=use.verify,
        before=(),
        after=(),
        authority_before=before.chain_pem.encode("ascii"),
        authority_after=after.chain_pem.encode("ascii"),
        revocations=catalog.outline.revocations.get((use.load_balancer, use.listener)),
    )


def _shown(use: Use, companions: Mapping[str, Identity | None], own: Identity) -> tuple[Identity, ...]:
    identities = [own if name == use.certificate else companions[name] for name in use.shown]
    return tuple(identity for identity in identities if identity is not None)


def _companion(catalog: Catalog, name: str) -> Identity | None:
    """What stands in for another certificate of the listener; None if nothing is known of it."""
    stored = catalog.stored_as(name)
    if stored is not None:
        description = described("server", stored.material.chain_pem)
        return server_stand_in(description.names, description.key_type) if description is not None else None
    facts = catalog.outline.certificates.get(name)
    return server_stand_in(facts.names, facts.key_type) if facts is not None else None


def _identity(certificate: Certificate, opening: Opening) -> Identity:
    material = certificate.material
    assert material.sealed_key is not None, "a server certificate has a key"
    key = opening().open(material.sealed_key, certificate.id, certificate.generation, material.chain_pem)
    description = described("server", material.chain_pem)
    if description is None:
        raise SealedKeyDamaged("the stored chain is damaged")
    return Identity(material.chain_pem.encode("ascii"), key, description.names, description.key_type)
