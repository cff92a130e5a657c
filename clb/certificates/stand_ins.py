"""Certificates that exist for a rehearsal only: in place of those whose private keys are not at hand.

Owns:      one of each kind per process, made when it is first needed; the CA that lets a rehearsed client in.
Elsewhere: the rehearsal (rehearsal.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from clb.tls.contexts import Identity

_DAYS = timedelta(days=3650)
"""Longer than any process lives."""

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class StandIn:
    """A certificate and its key."""

    certificate_pem: bytes
    private_key_pem: bytes = field(repr=False)


def server_stand_in(names: tuple[str, ...], key_type: str) -> Identity:
    """What negotiates as a certificate of this type would; its names are those that it is chosen by."""
    made = _server(key_type)
    return Identity(made.certificate_pem, made.private_key_pem, names, key_type)


@cache
def authority_stand_in() -> bytes:
    """PEM of the CA that issued `client_stand_in`."""
    return _pem(_certificate("clb rehearsal CA", _authority_key(), is_authority=True))


@cache
def client_stand_in() -> StandIn:
    """A client's certificate."""
    key = _new_key("ECDSA")
    return StandIn(_pem(_certificate("clb rehearsal client", key, _authority_key())), _key_pem(key))


@cache
def _server(key_type: str) -> StandIn:
    key = _new_key(key_type)
    return StandIn(_pem(_certificate("clb rehearsal server", key)), _key_pem(key))


@cache
def _authority_key() -> _Key:
    return _new_key("ECDSA")


def _new_key(key_type: str) -> _Key:
    return rsa.generate_private_key(65537, 2048) if key_type == "RSA" else ec.generate_private_key(ec.SECP256R1())


def _certificate(name: str, key: _Key, issuer: _Key | None = None, *, is_authority: bool = False) -> x509.Certificate:
    now = datetime.now(UTC)
    issuer_name = "clb rehearsal CA" if issuer is not None else name
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _DAYS)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(issuer or key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
