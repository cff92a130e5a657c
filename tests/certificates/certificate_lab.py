"""Make certificates, right ones and wrong ones.

Owns:      keys (each made once) and a small builder for certificates and revocation lists.
Elsewhere: what clb thinks of them (the tests).
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """The key of this name: the same one whenever it is asked for."""
    return ec.generate_private_key(curve())


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key of this size."""
    return rsa.generate_private_key(65537, bits)


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    """A key of a kind that clb does not serve."""
    return ed25519.Ed25519PrivateKey.generate()


@cache
def dsa_key() -> dsa.DSAPrivateKey:
    """Another one."""
    return dsa.generate_private_key(2048)


def certificate(
    subject: str,
    key: object,
    issuer: tuple[str, object] | None = None,
    *,
    ca: bool = False,
    names: tuple[str, ...] = (),
    begins: datetime = NOW - timedelta(days=10),
    ends: datetime = NOW + timedelta(days=90),
    sign: bool | None = None,
) -> x509.Certificate:
    """A certificate for `subject`, by itself or by an issuer (name and key)."""
    issuer_name, issuer_key = issuer or (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer_name))
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    if sign is not None:
        builder = builder.add_extension(_usage(sign), critical=True)
    default = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, default)  # type: ignore[arg-type]


def revocation_list(
    issuer: str, key: Key, *, begins: datetime = NOW - timedelta(days=1), ends: datetime = NOW + timedelta(days=1)
) -> x509.CertificateRevocationList:
    """A list that revokes serial number 7."""
    revoked = x509.RevokedCertificateBuilder().serial_number(7).revocation_date(begins).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(_name(issuer))
    return builder.last_update(begins).next_update(ends).add_revoked_certificate(revoked).sign(key, hashes.SHA256())


def pem(*things: object) -> bytes:
    """Certificates, lists and keys as one PEM file."""
    return b"".join(map(_pem, things))


def der(thing: object) -> bytes:
    """One certificate, list or key as DER."""
    if hasattr(thing, "private_bytes"):
        return thing.private_bytes(  # type: ignore[no-any-return]
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return thing.public_bytes(serialization.Encoding.DER)  # type: ignore[attr-defined,no-any-return]


def _pem(thing: object) -> bytes:
    if isinstance(thing, bytes):
        return thing
    if hasattr(thing, "private_bytes"):
        return thing.private_bytes(  # type: ignore[no-any-return]
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return thing.public_bytes(serialization.Encoding.PEM)  # type: ignore[attr-defined,no-any-return]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )
