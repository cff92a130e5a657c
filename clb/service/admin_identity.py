"""The management address's own certificate: `state_dir/admin.pem` and `admin.key`, made when they are needed.

Owns:      the two files, and making them anew when they are gone, unsound, for other names or about to expire.
Elsewhere: what is in them (certificates/self_made.py); a certificate that the configuration names (materials.py).

The key stays when the certificate is renewed, so a client may pin either.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from clb.certificates import self_made
from clb.certificates.reading import host_names
from clb.control.node import AdminTls
from clb.observe.logging import fields
from clb.tls.contexts import Identity

CERTIFICATE: Final = "admin.pem"
KEY: Final = "admin.key"
_LARGEST: Final = 64 << 10

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdminCertificate:
    """What the management address shows, and what may be said of it."""

    identity: Identity = field(repr=False)
    facts: AdminTls


def configured(identity: Identity) -> AdminCertificate:
    """The certificate that `admin.tls` names; it has been checked."""
    return _described(identity, x509.load_pem_x509_certificate(identity.chain_pem), is_own=False)


def ensure(state_dir: Path, names: Sequence[str], now: datetime) -> AdminCertificate:
    """Return the node's own certificate for these names, which is made if there is none that does.

    A directory that cannot be written to does not stop it: the certificate then lasts as long as this process.
    """
    key = _stored_key(state_dir / KEY)
    stored = _read(state_dir / CERTIFICATE)
    certificate = self_made.read_own(stored) if stored is not None else None
    if key is not None and certificate is not None and self_made.is_good(certificate, key, names, now):
        return _own(key, certificate)
    is_new_key = key is None
    key = key or self_made.make_key()
    certificate = self_made.make_certificate(key, names, now)
    try:
        # The key first: a certificate of another key would be made anew at the next start.
        if is_new_key:
            _write(state_dir / KEY, self_made.write_key(key))
        _write(state_dir / CERTIFICATE, self_made.write_certificate(certificate))
    except OSError as error:
        _logger.error("management certificate cannot be kept", extra=fields(error=str(error)))
    made = _own(key, certificate)
    _logger.info(
        "management certificate made",
        extra=fields(
            fingerprint=made.facts.fingerprint,
            names=" ".join(made.facts.names),
            until=f"{made.facts.not_after:%Y-%m-%d}",
        ),
    )
    return made


def _own(key: self_made.PrivateKey, certificate: x509.Certificate) -> AdminCertificate:
    identity = Identity(
        self_made.write_certificate(certificate), self_made.write_key(key), host_names(certificate), "ECDSA"
    )
    return _described(identity, certificate, is_own=True)


def _described(identity: Identity, certificate: x509.Certificate, *, is_own: bool) -> AdminCertificate:
    facts = AdminTls(
        is_own=is_own,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        public_key_pin=self_made.public_key_pin(certificate),
        names=identity.names,
        not_after=certificate.not_valid_after_utc,
    )
    return AdminCertificate(identity, facts)


def _stored_key(path: Path) -> self_made.PrivateKey | None:
    data = _read(path, private=True)
    return self_made.read_key(data) if data is not None else None


def _read(path: Path, *, private: bool = False) -> bytes | None:
    """A file of ours; None if there is none, or if others could have read what should be private."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if private and os.fstat(descriptor).st_mode & 0o077:
            _logger.error("others could read the management key, another one is made", extra=fields(path=str(path)))
            return None
        try:
            return file.read(_LARGEST)
        except OSError:
            return None


def _write(path: Path, data: bytes) -> None:
    """Put a file in its place whole, readable by its owner alone."""
    fresh = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
