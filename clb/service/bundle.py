"""What the processes of a node are given to serve: the checked configuration and what it points to.

Owns:      the two halves, one without any private key and one that is nothing else.
Elsewhere: making them of files and store (loader.py, applying.py); passing them on (channel.py); building listeners
           of them (assembly.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from clb.config.models import Config
from clb.store.inventory import Override
from clb.tls.contexts import Identity


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What may be shown of a server certificate."""

    names: tuple[str, ...]
    key_type: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    """SHA-256, lower case hexadecimal."""
    key_digest: str = ""
    """Of the public key: which private key it needs."""


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """Which certificate of the store a name stands for, and in which generation."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Outline:
    """Everything but the private keys: what the supervisor and the control process may know."""

    version: int
    """Counts up with every configuration that is taken into service."""
    config: Config
    """What the file and the store say together. A load balancer or certificate with `stored` is the store's."""
    certificates: Mapping[str, CertificateFacts]
    """Server certificates, by name."""
    authorities: Mapping[str, bytes]
    """PEM of the CA certificates, by name."""
    revocations: Mapping[tuple[str, str], bytes]
    """PEM of the revocation lists, by names of load balancer and listener."""
    bases: Mapping[str, int]
    """Which of the base contexts that were made before the fork a listener uses (by `listener_key`)."""
    rows: Mapping[str, int]
    """Rows of the shared cells, by the keys of metering/cells.py."""
    admin: CertificateFacts | None = None
    """Certificate of the management address, if it has TLS."""
    revision: int = 0
    """Of the store, when this was made; it may have counted on for what does not concern traffic."""
    stored_certificates: Mapping[str, StoredCertificate] = field(default_factory=dict)
    """Those of the store that are in use here, by the names that listeners know them by; CAs among them."""
    aliases: frozenset[str] = frozenset()
    """Names among them that the file gave, by `stored: ID`."""
    overrides: Mapping[str, Override] = field(default_factory=dict)
    """What the API changed of targets of the file, by `target_key`; each is in force."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Certificates of the store that cannot be used, by name, and why."""
    unserved: Mapping[str, str] = field(default_factory=dict)
    """Listeners of the store that are left out of `config` because of that, by `listener_key`, and why."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The other half, for workers only."""

    identities: Mapping[str, Identity] = field(repr=False)
    """Chain and private key, by name of the certificate; of the file and of the store."""
    admin: Identity | None = field(default=None, repr=False)
    """Of the management address; the control process is given this one alone."""
