"""What a client's certificate proved: the checks OpenSSL leaves to us, and the lines for the real server.

Owns:      depth, key size and signature checks after a full handshake; X-SSL-Client-* and Client-Cert lines.
Elsewhere: trust, dates and revocation (OpenSSL, by contexts.py); removing a client's own copies of these
           names (http1/fields.py). docs/tls.md shows each line.
Pure:      same certificate, same lines, and safe in a header whatever a CA was willing to sign.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID

from clb.errors import ClbError, Side

MIN_EC_BITS = 256
WEAK_DIGESTS = frozenset({"md5", "sha1"})

# What stays as it is in a value; the rest, `%` among it, is percent-encoded, so that decoding gives it back.
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
# A comma or space inside a name would let one name read as two in the list of names.
_PRINTABLE_NAME = _PRINTABLE.replace(",", "").replace(" ", "")

# Registered short names (RFC 4514 section 2.3) beyond the nine that cryptography knows.
_SHORT_NAMES = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.SURNAME: "sn",
    NameOID.TITLE: "title",
}


_READ_ERRORS = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_ENCODING_DER = 2
"""`_ssl.ENCODING_DER`, which `ssl` does not pass on."""


class ClientCertificateRefused(ClbError):
    """OpenSSL trusts the certificate; this listener still does not. `reason` is one of failures.REASONS."""

    side, client_status = Side.DOWNSTREAM, None


class NoCertificate(ClientCertificateRefused):
    """None was shown: the handshake began before the listener required one."""


class ChainTooLong(ClientCertificateRefused):
    """More intermediates than `verify_depth`."""


class WeakKey(ClientCertificateRefused):
    """A key under `min_client_key_bits`, or an elliptic curve under 256 bits."""


class WeakSignature(ClientCertificateRefused):
    """Signed with MD5 or SHA-1."""


class UnreadableCertificate(ClientCertificateRefused):
    """A field that cannot be read cannot be checked or passed on either."""


def check_client_chain(
    ssl_object: ssl.SSLObject, *, verify_depth: int, min_client_key_bits: int, is_required: bool = False
) -> None:
    """Refuse what OpenSSL does not: call once, when the handshake is finished.

    The policy `documented` needs security level 0, at which OpenSSL takes RSA-512 and MD5 from clients too.
    A resumed session has no chain: it was checked when the session began.
    """
    chain = _verified_chain(ssl_object)
    if not chain:
        if is_required and ssl_object.getpeercert(binary_form=True) is None:
            raise NoCertificate("the client showed no certificate")
        return
    intermediates = len(chain) - 2
    if intermediates > verify_depth:
        raise ChainTooLong(f"{intermediates} intermediates, verify_depth allows {verify_depth}")
    with _reading():
        for position, der in enumerate(chain):
            certificate = x509.load_der_x509_certificate(der)
            _check_key(certificate, min_client_key_bits)
            # The last one is the bound CA: it is trusted because it is bound, not for its signature.
            if position < len(chain) - 1:
                _check_signature(certificate)


def client_identity_headers(ssl_object: ssl.SSLObject) -> bytes:
    """The header lines for the real server, each ended by CRLF. A field without a value has no line."""
    der = ssl_object.getpeercert(binary_form=True)
    if der is None:
        return b"X-SSL-Client-Verify: NONE\r\n"
    with _reading():
        fields = dict(_describe(x509.load_der_x509_certificate(der)))
    fields["X-SSL-Client-Fingerprint"] = hashlib.sha256(der).hexdigest()
    fields["Client-Cert"] = _byte_sequence(der)
    # Absent when the session was resumed (docs/tls.md).
    fields["Client-Cert-Chain"] = ", ".join(map(_byte_sequence, _verified_chain(ssl_object)[1:]))
    lines = ["X-SSL-Client-Verify: SUCCESS\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in fields.items() if value]
    return "".join(lines).encode("ascii")


@contextmanager
def _reading() -> Iterator[None]:
    """OpenSSL reads more leniently than cryptography: what it lets through may still be malformed."""
    try:
        yield
    except _READ_ERRORS as error:
        raise UnreadableCertificate(f"the client's certificate: {error}") from error


def _verified_chain(ssl_object: ssl.SSLObject) -> list[bytes]:
    """Leaf to bound CA in DER; empty without a certificate and on a resumed session."""
    # `ssl` passes this on only from Python 3.13; the method underneath has been there since 3.10.
    inner: Any = ssl_object._sslobj  # type: ignore[attr-defined]
    return [bytes(item.public_bytes(_ENCODING_DER)) for item in inner.get_verified_chain() or ()]


def _check_key(certificate: x509.Certificate, min_bits: int) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        if key.key_size < min_bits:
            raise WeakKey(f"{_subject(certificate)}: key of {key.key_size} bits, {min_bits} are wanted")
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < MIN_EC_BITS:
        raise WeakKey(f"{_subject(certificate)}: curve of {key.curve.key_size} bits, {MIN_EC_BITS} are wanted")


def _check_signature(certificate: x509.Certificate) -> None:
    digest = certificate.signature_hash_algorithm
    # None: Ed25519 and Ed448 sign without a separate digest.
    if digest is not None and digest.name in WEAK_DIGESTS:
        raise WeakSignature(f"{_subject(certificate)}: signed with {digest.name.upper()}")


def _describe(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    serial = f"{certificate.serial_number:X}"
    yield "X-SSL-Client-Subject", _subject(certificate)
    yield "X-SSL-Client-Issuer", _header_value(certificate.issuer.rfc4514_string(_SHORT_NAMES))
    # Whole bytes, as `openssl x509 -serial` prints it.
    yield "X-SSL-Client-Serial", serial.zfill(len(serial) + len(serial) % 2)
    yield "X-SSL-Client-Not-After", certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    yield "X-SSL-Client-SAN", ", ".join(map(_general_name, _alternative_names(certificate)))


def _subject(certificate: x509.Certificate) -> str:
    return _header_value(certificate.subject.rfc4514_string(_SHORT_NAMES))


def _alternative_names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return iter(())
    return iter(extension.value)


def _general_name(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            kind, value = "DNS", name.value
        case x509.RFC822Name():
            kind, value = "email", name.value
        case x509.UniformResourceIdentifier():
            kind, value = "URI", name.value
        case x509.IPAddress():
            kind, value = "IP", str(name.value)
        case x509.DirectoryName():
            kind, value = "DirName", name.value.rfc4514_string(_SHORT_NAMES)
        case x509.RegisteredID():
            kind, value = "RID", name.value.dotted_string
        case _:
            # X.400 and EDI names never come this far: cryptography refuses them (_READ_ERRORS).
            assert isinstance(name, x509.OtherName)
            kind, value = "otherName", f"{name.type_id.dotted_string}=#{name.value.hex()}"
    return f"{kind}:{quote(value, safe=_PRINTABLE_NAME)}"


def _header_value(text: str) -> str:
    encoded = quote(text, safe=_PRINTABLE)
    # HTTP drops spaces at the ends of a value, and RFC 4514 has escaped ones there.
    core = encoded.strip(" ")
    start = len(encoded) - len(encoded.lstrip(" "))
    return "%20" * start + core + "%20" * (len(encoded) - len(core) - start)


def _byte_sequence(der: bytes) -> str:
    return f":{base64.b64encode(der).decode('ascii')}:"
