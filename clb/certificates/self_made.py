"""A certificate that a node makes for its own management address.

Owns:      its contents, and when it must be made anew.
Elsewhere: keeping it (service/admin_identity.py); certificates of listeners, which others issue (server.py).
Pure:      a key, names and a time in, PEM out.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clb.certificates.reading import host_names, quiet

LIFETIME: Final = timedelta(days=825)
"""As long as clients take at most that know a bound (Apple's for roots that a user added)."""
RENEWED_BEFORE: Final = timedelta(days=30)
_CLOCKS_DIFFER: Final = timedelta(hours=1)
_LONGEST_COMMON_NAME: Final = 64

PrivateKey = ec.EllipticCurvePrivateKey


def make_key() -> PrivateKey:
    """A new key, ECDSA on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def write_key(key: PrivateKey) -> bytes:
    """The key as PEM (PKCS#8)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_key(pem: bytes) -> PrivateKey | None:
    """A key that `write_key` wrote; None of anything else."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1) else None


def names_for(*wanted: str) -> tuple[str, ...]:
    """Those that a certificate can have, each once, in lower case and sorted; no address that means all of them."""
    names = {name.lower().rstrip(".") for name in wanted if name and name.isascii() and " " not in name}
    return tuple(sorted(name for name in names if not _is_unspecified(name)))


def _is_unspecified(name: str) -> bool:
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return False


def make_certificate(key: PrivateKey, names: Sequence[str], now: datetime) -> x509.Certificate:
    """A certificate that its own key signs, for `names_for`."""
    public = key.public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"clb {names[0]}"[:_LONGEST_COMMON_NAME])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        # It vouches for nobody else: who trusts it trusts this node alone.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@quiet()
def read_own(pem: bytes) -> x509.Certificate | None:
    """The certificate in a file; None if there is none."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None


def is_good(certificate: x509.Certificate, key: PrivateKey, names: Sequence[str], now: datetime) -> bool:
    """Whether it still does: of this key, for these names, and for a while yet."""
    return (
        certificate.public_key() == key.public_key()
        and sorted(host_names(certificate)) == sorted(names)
        and certificate.not_valid_before_utc <= now
        and certificate.not_valid_after_utc - now > RENEWED_BEFORE
    )


def write_certificate(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def public_key_pin(certificate: x509.Certificate) -> str:
    """What `curl --pinnedpubkey` takes: it stays when the certificate is renewed, since the key does."""
    der = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"sha256//{b64encode(sha256(der).digest()).decode('ascii')}"
