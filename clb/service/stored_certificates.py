"""Turn certificates of the store into what listeners show and check clients against.

Owns:      opening one: its key decrypted, its parts looked at as those of a file are.
Elsewhere: the format of a sealed key (certificates/keyring.py); which are in use (merging.py).

A record of which a bit differs does not open, or does not match its own fingerprint: such a certificate is put under
quarantine, alone. A keyring that does not have the key is another matter: that is the operator's mistake, and all of
its certificates are fine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes

from clb.certificates.authority import load_ca_certificate
from clb.certificates.description import describe
from clb.certificates.faults import CertificateFault
from clb.certificates.keyring import Keyring, KeyringFault, SealedKeyDamaged
from clb.certificates.reading import public_key_digest
from clb.certificates.server import ServerCertificate, load_server_certificate
from clb.service.bundle import CertificateFacts
from clb.store.inventory import Certificate, Material
from clb.tls.contexts import Identity


class Unusable(Exception):
    """The certificate is damaged; the text says how, and has no secret in it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a certificate of the store consists of."""

    facts: CertificateFacts | None = None
    """Of a server certificate, as what follows."""
    identity: Identity | None = field(default=None, repr=False)
    authority: bytes | None = field(default=None, repr=False)
    """PEM, of a CA."""


def open_certificate(certificate: Certificate, keyring: Keyring | None) -> Opened:
    """Decrypt and look at it.

    Raises:
        KeyringFault: there is no keyring, or it does not have the key.
        Unusable: it is not what was stored.
    """
    material = certificate.material
    now = datetime.now(UTC)
    try:
        if certificate.type == "ca":
            return _opened_authority(material, now)
        if material.sealed_key is None:
            raise Unusable("its private key is missing")
        if keyring is None:
            raise KeyringFault("there is no keyring, so its private key cannot be opened")
        key = keyring.open(material.sealed_key, certificate.id, certificate.generation, material.chain_pem)
        server = load_server_certificate(material.chain_pem.encode(), key, now=now)
    except SealedKeyDamaged as fault:
        raise Unusable(str(fault)) from fault
    except CertificateFault as fault:
        raise Unusable(f"{fault.message} ({fault.code})") from fault
    facts = facts_of(server)
    if facts.fingerprint != material.fingerprint:
        raise Unusable("its chain is not the one that was stored")
    return Opened(facts, identity_of(server))


def _opened_authority(material: Material, now: datetime) -> Opened:
    authority = load_ca_certificate(material.chain_pem.encode(), now=now)
    # It signs itself, so another bit of it may well make another CA that looks as good.
    if describe("ca", authority.certificates).fingerprint != material.fingerprint:
        raise Unusable("it is not the one that was stored")
    return Opened(authority=authority.pem)


def facts_of(certificate: ServerCertificate) -> CertificateFacts:
    """What may be shown of it."""
    return CertificateFacts(
        names=certificate.names,
        key_type=certificate.key_type,
        not_before=certificate.leaf.not_valid_before_utc,
        not_after=certificate.not_after,
        fingerprint=certificate.leaf.fingerprint(hashes.SHA256()).hex(),
        key_digest=public_key_digest(certificate.leaf) or "",
    )


def identity_of(certificate: ServerCertificate) -> Identity:
    """What handshakes need of it."""
    return Identity(certificate.chain_pem, certificate.private_key_pem, certificate.names, certificate.key_type)
