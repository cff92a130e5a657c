"""Read X.509 without surprises.

Owns:      turning what `cryptography` raises or warns of into faults; how certificates are named in texts.
Elsewhere: what must hold for a server certificate, a CA or a list (server.py, authority.py, revocation.py).
Pure:      blocks in, certificates and plain values out.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.pem import Block

EXPIRES_SOON = timedelta(days=30)
MINIMUM_RSA_BITS = 2048
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_LONGEST_NAME = 120

# Whatever a broken certificate makes the library raise while one of its lazy fields is read.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@contextmanager
def quiet() -> Iterator[None]:
    """The library warns of oddities that old certificates have and that do not matter here.

    It warns when a field is read, so every public function that reads fields is decorated with this. Warning
    filters belong to the process: not for use beside other threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_certificate(block: Block) -> x509.Certificate:
    """The certificate in the block, with all fields that clb looks at known to be readable."""
    try:
        certificate = x509.load_der_x509_certificate(block.der)
        _ = certificate.subject, certificate.issuer, certificate.extensions
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        _ = certificate.signature_algorithm_oid, certificate.public_bytes(serialization.Encoding.DER)
    except UNREADABLE:
        fix = "copy the file again from where it was issued"
        raise CertificateFault("bad_certificate", f"{block} is not a readable certificate", fix) from None
    return certificate


def check_public_key(certificate: x509.Certificate, where: str) -> PublicKey:
    """The key, if it is of a kind and strength that clb serves."""
    fix = f"use RSA of {MINIMUM_RSA_BITS} bits or more, or EC P-256, P-384 or P-521"
    try:
        key = certificate.public_key()
    except UNREADABLE:
        raise CertificateFault("key_unsupported", f"{where} has a key of an unknown kind", fix) from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MINIMUM_RSA_BITS:
            raise CertificateFault("weak_key", f"{where} has an RSA key of only {key.key_size} bits", fix)
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.key_size < 256:
            raise CertificateFault("weak_key", f"{where} has an EC key of only {key.curve.key_size} bits", fix)
        if key.curve.name not in CURVES:
            raise CertificateFault("key_unsupported", f"{where} has a key on curve {key.curve.name}", fix)
        return key
    kind = type(key).__name__.removesuffix("PublicKey").lstrip("_")
    raise CertificateFault("key_unsupported", f"{where} has a key of kind {kind}", fix)


def check_signature_hash(certificate: x509.Certificate, where: str) -> None:
    """MD5 and SHA-1 prove nothing any more; what signed itself needs no proof."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UNREADABLE:
        return
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1) and not is_self_issued(certificate):
        message = f"{where} is signed with {algorithm.name.upper()}, which clients refuse"
        raise CertificateFault("weak_signature", message, "have it issued again with SHA-256")


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign other certificates."""
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return False
    usage = _extension(certificate, x509.KeyUsage)
    return usage is None or usage.key_cert_sign


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Whether it names itself as its issuer: a root, or a certificate that stands alone."""
    return certificate.subject == certificate.issuer


@quiet()
def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed it, by name and by signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and IP addresses it is for, in lower case; the common name only where nothing else stands."""
    alternative = _extension(certificate, x509.SubjectAlternativeName)
    if alternative is None:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(attribute.value).lower() for attribute in common[-1:])
    names = [name.lower() for name in alternative.get_values_for_type(x509.DNSName)]
    names += [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(names))


def subject(certificate: x509.Certificate) -> str:
    """The subject as text for people."""
    return spell_name(certificate.subject)


def spell_name(name: x509.Name) -> str:
    """A distinguished name as text for people: printable, and not longer than a line."""
    try:
        text = name.rfc4514_string()
    except UNREADABLE:
        return "(unreadable name)"
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown[:_LONGEST_NAME] or "(no name)"


def key_digest(key: PublicKey) -> str:
    """What a certificate and its private key have in common: the digest of the public key."""
    info = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(info).hexdigest()


def public_key_digest(certificate: x509.Certificate) -> str | None:
    """`key_digest` of its key, or None of one that clb would not serve, as a CA may well have."""
    try:
        return key_digest(check_public_key(certificate, ""))
    except CertificateFault:
        return None


def validity_remarks(certificate: x509.Certificate, what: str, now: datetime) -> list[Remark]:
    """Outside its dates a certificate is still served: a warning helps more than a closed door."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        return [Remark("expired", f"{what} expired on {ends:%Y-%m-%d}", "replace it")]
    if now < begins:
        message = f"{what} is not valid before {begins:%Y-%m-%d %H:%M} UTC"
        return [Remark("not_yet_valid", message, "check the clock, or wait")]
    if ends - now < EXPIRES_SOON:
        message = f"{what} expires in {(ends - now).days} days, on {ends:%Y-%m-%d}"
        return [Remark("expires_soon", message, "replace it in time")]
    return []


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
