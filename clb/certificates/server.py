"""Check a server certificate: leaf, chain and private key that belong together.

Owns:      everything that must hold before a listener may show it.
Elsewhere: which other certificate a wrong key belongs to (service/materials.py knows all of them).
Pure:      bytes and a time in, a checked object out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from clb.certificates import pem
from clb.certificates.chain import check_chain
from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.keys import PrivateKey, read_private_key
from clb.certificates.reading import (
    check_public_key,
    check_signature_hash,
    host_names,
    is_authority,
    is_self_issued,
    public_key_digest,
    quiet,
    read_certificate,
    subject,
    validity_remarks,
)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Ready to be shown by a listener."""

    chain_pem: bytes = field(repr=False)
    """Leaf first, written anew from what was read."""
    private_key_pem: bytes = field(repr=False)
    leaf: x509.Certificate
    names: tuple[str, ...]
    """Host names and addresses it is for, in lower case."""
    key_type: Literal["RSA", "ECDSA"]
    not_after: datetime
    warnings: tuple[Remark, ...] = ()


@quiet()
def load_server_certificate(
    certificate_pem: bytes, private_key_pem: bytes, *, now: datetime | None = None
) -> ServerCertificate:
    """Check both files together; of several faults the one is raised that a person would mend first."""
    now = now or datetime.now(UTC)
    chain = read_chain(certificate_pem)
    leaf = chain[0]
    _check_leaf(leaf)
    public_key = check_public_key(leaf, "the certificate")
    private_key = read_private_key(private_key_pem)
    _check_match(chain, private_key)
    remarks = check_chain(chain)
    if not (names := host_names(leaf)):
        message = f"the certificate ({subject(leaf)}) is for no host name"
        raise CertificateFault("no_names", message, "have it issued with subject alternative names")
    for number, certificate in enumerate(chain, start=1):
        what = "the certificate" if number == 1 else f"block {number} ({subject(certificate)})"
        check_signature_hash(certificate, what)
        remarks += validity_remarks(certificate, what, now)
    return ServerCertificate(
        chain_pem=b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain),
        private_key_pem=private_key.pem,
        leaf=leaf,
        names=names,
        key_type="RSA" if isinstance(public_key, rsa.RSAPublicKey) else "ECDSA",
        not_after=leaf.not_valid_after_utc,
        warnings=tuple(remarks),
    )


@quiet()
def read_chain(certificate_pem: bytes) -> list[x509.Certificate]:
    """The certificates of a server certificate file, in its order."""
    certificates = []
    for block in pem.split(certificate_pem):
        if block.is_private_key:
            fix = "keep it in the file of private_key only"
            raise CertificateFault("key_in_certificate", f"{block} is a private key", fix)
        if not block.is_certificate:
            message = f"{block} is no certificate but {block.label}"
            raise CertificateFault("wrong_block", message, "remove it")
        certificates.append(read_certificate(block))
    return certificates


@quiet()
def leaf_digest(certificate_pem: bytes) -> str | None:
    """Digest of the public key of the first certificate, or None if there is no way to know it."""
    try:
        return public_key_digest(read_chain(certificate_pem)[0])
    except CertificateFault:
        return None


def private_key_digest(private_key_pem: bytes) -> str | None:
    """Digest of the public half of a private key, or None if there is no way to know it."""
    try:
        return read_private_key(private_key_pem).digest
    except CertificateFault:
        return None


def _check_leaf(leaf: x509.Certificate) -> None:
    if not is_authority(leaf):
        return
    if is_self_issued(leaf):
        fix = "make it with: openssl req -x509 -addext basicConstraints=critical,CA:FALSE ..."
    else:
        fix = "put the server's own certificate first, then the CAs that issued it"
    raise CertificateFault("leaf_is_ca", f"the first certificate ({subject(leaf)}) is a CA", fix)


def _check_match(chain: list[x509.Certificate], private_key: PrivateKey) -> None:
    digests = [public_key_digest(certificate) for certificate in chain]
    if digests[0] == private_key.digest:
        return
    if private_key.digest in digests:
        number = digests.index(private_key.digest) + 1
        message = f"the private key belongs to block {number} ({subject(chain[number - 1])}), not to the first"
        raise CertificateFault("chain_order", message, f"put block {number} first")
    message = f"the private key does not match the certificate ({subject(chain[0])})"
    raise CertificateFault("key_mismatch", message, "use the key that the certificate was requested with")
