"""Make the certificates that scripts/run needs: two development CAs, a server's and a client's certificate.

Owns:      FOLDER/{ca,web,clients-ca,client}.{pem,key}: made when absent, renewed before they expire.
Elsewhere: how clb checks certificates (clb/certificates); which listener uses them (config/clb.yaml).
Safe:      a file that this module did not make is never overwritten; a key is never readable by others.

Usage: development_certificates.py FOLDER
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANIZATION = "clb development"
"""The mark by which this module knows its own certificates again: the issuer's organization."""
AUTHORITY_LIFETIME = timedelta(days=1825)
# Browsers refuse server certificates that are valid for longer than 398 days.
LEAF_LIFETIME = timedelta(days=397)
RENEWED_BEFORE_EXPIRY = timedelta(days=7)
# Machines that share a folder may have clocks that differ a little.
BACKDATED = timedelta(hours=1)

SERVER_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.DNSName("shop.localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)
CLIENT_NAMES: tuple[x509.GeneralName, ...] = (x509.RFC822Name("client@shop.localhost"),)


class ForeignFile(Exception):
    """A file of ours by name that somebody else made."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was not made by this script, so it is left alone. "
            "Move it away, or keep your own certificates under other names."
        )


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_certificates(folder: Path, now: datetime) -> list[str]:
    """Make or renew what is missing or about to expire; return the names of what was made."""
    folder.mkdir(exist_ok=True)
    made: list[str] = []
    for authority_name, leaf_name, names, usage in (
        ("ca", "web", SERVER_NAMES, ExtendedKeyUsageOID.SERVER_AUTH),
        ("clients-ca", "client", CLIENT_NAMES, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        authority = _usable(folder, authority_name, issuer=None, now=now)
        if authority is None:
            authority = _new_authority(authority_name, now)
            _write(folder, authority_name, authority)
            made.append(authority_name)
        if _usable(folder, leaf_name, issuer=authority, now=now) is None:
            _write(folder, leaf_name, _new_leaf(leaf_name, names, usage, authority, now))
            made.append(leaf_name)
    return made


def _usable(folder: Path, name: str, issuer: Pair | None, now: datetime) -> Pair | None:
    """The stored pair, or None when a new one must be made. `issuer` None means self-signed."""
    pair = _read(folder, name)
    if pair is None or pair.certificate.not_valid_after_utc - now < RENEWED_BEFORE_EXPIRY:
        return None
    if pair.key.public_key() != pair.certificate.public_key():
        return None
    try:
        pair.certificate.verify_directly_issued_by((issuer or pair).certificate)
    except (InvalidSignature, TypeError, ValueError):  # by what differs: name, kind of key, signature
        return None
    return pair


def _read(folder: Path, name: str) -> Pair | None:
    certificate_path, key_path = _paths(folder, name)
    if not certificate_path.exists():
        if key_path.exists():
            raise ForeignFile(key_path)
        return None
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    except ValueError as exc:
        raise ForeignFile(certificate_path) from exc
    organizations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if [attribute.value for attribute in organizations] != [ORGANIZATION]:
        raise ForeignFile(certificate_path)
    if not key_path.exists():
        return None
    key_path.chmod(0o600)
    key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    return Pair(certificate, key) if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _new_authority(name: str, now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{ORGANIZATION} {name}")
    builder = (
        _builder(subject, subject, key, now, now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _new_leaf(
    name: str,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    authority: Pair,
    now: datetime,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    not_after = min(now + LEAF_LIFETIME, issuer.not_valid_after_utc)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(_subject(f"{ORGANIZATION} {name}"), issuer.subject, key, now, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority_key, critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"


def _write(folder: Path, name: str, pair: Pair) -> None:
    # The certificate first: if we are stopped in between, it tells the next run that the pair is ours.
    certificate_path, key_path = _paths(folder, name)
    _replace(certificate_path, pair.certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    key_pem = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(key_path, key_pem, mode=0o600)


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)


def main() -> None:
    """Command line: one argument, the folder."""
    if len(sys.argv) != 2:
        sys.exit("usage: development_certificates.py FOLDER")
    try:
        made = ensure_certificates(Path(sys.argv[1]), datetime.now(UTC))
    except ForeignFile as exc:
        sys.exit(f"certificates: {exc}")
    if made:
        print(f"certificates: made {', '.join(made)} in {sys.argv[1]}")


if __name__ == "__main__":
    main()
