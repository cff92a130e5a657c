"""Join a listener's configuration with certificates and base contexts into TLS contexts.

Owns:      when a listener keeps its contexts and changes certificates in them, and when it gets others.
Elsewhere: the contexts and their choice by name (tls/contexts.py); which base a listener uses (bases.py).
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from clb.certificates.server import ServerCertificate
from clb.config.models import Listener
from clb.service.bundle import Keys, Outline
from clb.service.materials import Materials
from clb.service.rule_building import ListenerSide
from clb.tls.contexts import Identity, ListenerContexts, PreparedCertificates, Verify
from clb.tls.policy import POLICIES


@dataclass(frozen=True, slots=True)
class ContextChange:
    """Contexts and the certificates to be served from them."""

    contexts: ListenerContexts
    certificates: PreparedCertificates

    def install(self) -> None:
        """Serve them from the next handshake on."""
        self.contexts.install(self.certificates)


class ContextBuilder:
    """Builds on the bases that the process was given; without any, on new ones."""

    def __init__(self, bases: Sequence[ssl.SSLContext]) -> None:
        self._bases = bases
        self.are_tried = False
        """Whether the loader has tried the certificates that are prepared now."""

    def prepare(
        self, side: ListenerSide, current: ListenerContexts | None, outline: Outline, keys: Keys
    ) -> Generator[None, None, ContextChange | None]:
        """Build what one https listener needs; None if it has all of it.

        Raises:
            ContextFault: OpenSSL refuses a certificate, CA or CRL under the listener's policy.
            ValueError: there is no base, or one that would let sessions pass by the change.
        """
        listener = side.config
        verify: Verify = "off"
        authority = None
        if listener.ssl_mode == "mutual" and listener.ca_certificate is not None:
            verify, authority = listener.verify_client, outline.authorities[listener.ca_certificate]
        revocations = outline.revocations.get((side.load_balancer, listener.name))
        policy = POLICIES[listener.tls_policy]
        base = self._base(side.key, outline)
        identities = tuple(keys.identities[name] for name in listener.certificate_names)
        if current is not None and (base is None or base is current.base):
            if current.is_for(policy, verify, authority, revocations):
                if identities == current.identities:
                    return None
                return ContextChange(current, (yield from current.prepare(identities)))
            if base is not None:
                raise ValueError(f"listener {side.key}: no fresh base for what its sessions are checked against")
        contexts = ListenerContexts(policy, (), verify, authority, revocations, base)
        if current is not None:
            contexts.counts = current.counts
        return ContextChange(contexts, (yield from contexts.prepare(identities, are_tried=self.are_tried)))

    def _base(self, key: str, outline: Outline) -> ssl.SSLContext | None:
        place = outline.bases.get(key)
        if place is None:
            return None
        if place >= len(self._bases):
            raise ValueError(f"listener {key}: base {place} was made after this process")
        return self._bases[place]


def build_contexts(listener: Listener, load_balancer: str, materials: Materials) -> ListenerContexts:
    """Build the contexts of one https listener that is not at work, to look at them.

    Raises:
        ContextFault: OpenSSL refuses a certificate, CA or CRL under the listener's policy.
    """
    verify: Verify = "off"
    ca_pem = None
    if listener.ssl_mode == "mutual" and listener.ca_certificate is not None:
        verify = listener.verify_client
        ca_pem = materials.authorities[listener.ca_certificate].pem
    return ListenerContexts(
        POLICIES[listener.tls_policy],
        [_identity(materials.servers[name]) for name in listener.certificate_names],
        verify,
        ca_pem,
        materials.revocations.get((load_balancer, listener.name)),
    )


def _identity(certificate: ServerCertificate) -> Identity:
    return Identity(certificate.chain_pem, certificate.private_key_pem, certificate.names, certificate.key_type)
