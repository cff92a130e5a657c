"""Say what a certificate is, in plain values that may be shown to anybody who may see the configuration.

Owns:      what is told of a server certificate and of a CA.
Elsewhere: whether it is any good (server.py, authority.py); how long it still is (lifecycle.py).
Pure:      certificates in, values out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from clb.certificates.reading import CURVES, UNREADABLE, host_names, public_key_digest, quiet, spell_name, subject

CertificateType = Literal["server", "ca"]


@dataclass(frozen=True, slots=True)
class Description:
    """Of a chain: of its leaf. Of a CA's bundle: of the first, but for the dates."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """What a server certificate is for."""
    key_type: str
    """RSA or ECDSA."""
    key: str
    """Such as `RSA 2048` or `ECDSA P-256`."""
    fingerprint: str
    """SHA-256 of the leaf, lower case hexadecimal; of a CA, of its certificates one after another."""
    key_digest: str
    """See `reading.key_digest`; empty of a CA's key that clb would not serve."""
    not_before: datetime
    not_after: datetime
    """Of a CA's bundle: of the one that ends first."""
    length: int
    """How many certificates there are."""


@quiet()
def describe(kind: CertificateType, certificates: Sequence[x509.Certificate]) -> Description:
    """Say what it is."""
    first = certificates[0]
    counted = certificates if kind == "ca" else certificates[:1]
    ders = [certificate.public_bytes(serialization.Encoding.DER) for certificate in counted]
    key_type, key = _key(first)
    return Description(
        subject=subject(first),
        issuer=spell_name(first.issuer),
        names=host_names(first) if kind == "server" else (),
        key_type=key_type,
        key=key,
        fingerprint=hashlib.sha256(b"".join(ders)).hexdigest(),
        key_digest=public_key_digest(first) or "",
        not_before=max(certificate.not_valid_before_utc for certificate in counted),
        not_after=min(certificate.not_valid_after_utc for certificate in counted),
        length=len(certificates),
    )


def _key(certificate: x509.Certificate) -> tuple[str, str]:
    try:
        key = certificate.public_key()
    except UNREADABLE:
        return "unknown", "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ECDSA", f"ECDSA {CURVES.get(key.curve.name, key.curve.name)}"
    kind = type(key).__name__.removesuffix("PublicKey").lstrip("_")
    return kind, kind
