"""Join a listener's configuration and its loaded certificates into TLS contexts.

Owns:      nothing but the joining.
Elsewhere: the files (materials.py); the contexts and their choice by name (tls/contexts.py).
"""

from __future__ import annotations

from clb.certificates.server import ServerCertificate
from clb.config.models import Listener
from clb.service.materials import Materials
from clb.tls.contexts import Identity, ListenerContexts, Verify
from clb.tls.policy import POLICIES


def build_contexts(listener: Listener, load_balancer: str, materials: Materials) -> ListenerContexts:
    """Build the contexts of one https listener.

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
