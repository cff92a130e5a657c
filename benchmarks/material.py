"""Make the two server certificates that every peer serves.

Owns:      one ECDSA P-256 and one RSA-2048 key pair, self-signed, in the files that the peers want.
Elsewhere: which listener serves which (peers/); checking certificates (clb itself, not here).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

HOST = "bench.example.com"
"""The name in the certificates, in every request and in clb's rule."""


@dataclass(frozen=True)
class KeyPair:
    """Files of one server certificate; HAProxy wants both in one file."""

    certificate: Path
    private_key: Path
    combined: Path


def make_key_pairs(directory: Path) -> dict[str, KeyPair]:
    """One key pair per key type, as `ecdsa` and `rsa`."""
    return {
        "ecdsa": _write(directory, "ecdsa", ec.generate_private_key(ec.SECP256R1())),
        "rsa": _write(directory, "rsa", rsa.generate_private_key(65537, 2048)),
    }


def _write(directory: Path, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> KeyPair:
    pair = KeyPair(directory / f"{name}.crt", directory / f"{name}.key", directory / f"{name}.pem")
    certificate = _self_signed(key).public_bytes(serialization.Encoding.PEM)
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pair.private_key.touch(mode=0o600)
    pair.combined.touch(mode=0o600)
    pair.certificate.write_bytes(certificate)
    pair.private_key.write_bytes(private_key)
    pair.combined.write_bytes(certificate + private_key)
    return pair


def _self_signed(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
