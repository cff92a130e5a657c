"""Check a CA certificate, or a bundle of them: what clients are checked against.

Owns:      what may decide whom a mutual listener lets in.
Elsewhere: server certificates (server.py); checking a client (tls/).
Pure:      bytes and a time in, a checked object out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from clb.certificates import pem
from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.reading import (
    check_public_key,
    is_authority,
    quiet,
    read_certificate,
    subject,
    validity_remarks,
)


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """Ready to check clients against."""

    pem: bytes = field(repr=False)
    """Written anew from what was read, each certificate once."""
    certificates: tuple[x509.Certificate, ...]
    warnings: tuple[Remark, ...] = ()


@quiet()
def load_ca_certificate(data: bytes, *, now: datetime | None = None) -> CaCertificate:
    """One CA certificate or several; each of them may sign clients."""
    now = now or datetime.now(UTC)
    certificates: dict[bytes, x509.Certificate] = {}
    remarks: list[Remark] = []
    for block in pem.split(data):
        certificate = _read(block)
        text = certificate.public_bytes(serialization.Encoding.PEM)
        if text not in certificates:
            certificates[text] = certificate
            remarks += _remarks(certificate, block, now)
    return CaCertificate(b"".join(certificates), tuple(certificates.values()), tuple(remarks))


def _read(block: pem.Block) -> x509.Certificate:
    if block.is_private_key:
        message = f"{block} is a private key, which a CA certificate must come without"
        raise CertificateFault("key_in_certificate", message, "remove it, and keep it away from servers")
    if not block.is_certificate:
        raise CertificateFault("wrong_block", f"{block} is no certificate but {block.label}", "remove it")
    certificate = read_certificate(block)
    if not is_authority(certificate):
        message = f"{block}, {subject(certificate)}, is not a CA certificate"
        raise CertificateFault("not_ca", message, "give the certificate of the CA that issued the clients'")
    return certificate


def _remarks(certificate: x509.Certificate, block: pem.Block, now: datetime) -> list[Remark]:
    what = f"the CA certificate {subject(certificate)}"
    remarks = validity_remarks(certificate, what, now)
    try:
        check_public_key(certificate, f"{block}, {subject(certificate)},")
    except CertificateFault as fault:
        remarks.append(Remark(fault.code, fault.message, "its clients may be refused; renew the CA"))
    return remarks
