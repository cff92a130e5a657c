"""Check a certificate revocation list.

Owns:      what a `crl` file must hold, and how it relates to the CA beside it.
Elsewhere: refusing the revoked (tls/).
Pure:      bytes and a time in, a checked object out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from clb.certificates import pem
from clb.certificates.authority import CaCertificate
from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.reading import UNREADABLE, quiet, spell_name, subject


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One list or several, in one file."""

    pem: bytes = field(repr=False)
    lists: tuple[x509.CertificateRevocationList, ...]
    warnings: tuple[Remark, ...] = ()


@quiet()
def load_crl(data: bytes, *, now: datetime | None = None) -> RevocationList:
    """All lists of the file."""
    now = now or datetime.now(UTC)
    lists = [_read(block) for block in pem.split(data)]
    remarks = [remark for revocations in lists for remark in _remarks(revocations, now)]
    text = b"".join(revocations.public_bytes(serialization.Encoding.PEM) for revocations in lists)
    return RevocationList(text, tuple(lists), tuple(remarks))


@quiet()
def check_issuers(revocations: RevocationList, authority: CaCertificate) -> list[Remark]:
    """Each list is by one of the CAs; each CA has a list, or OpenSSL refuses all clients of it."""
    covered = set()
    for revoked in revocations.lists:
        issuers = [ca for ca in authority.certificates if _is_signed_by(revoked, ca)]
        if not issuers:
            message = f"the revocation list of {spell_name(revoked.issuer)} is by none of the listener's CAs"
            raise CertificateFault("bad_crl", message, "give the list of the CA that ca_certificate names")
        covered.update(issuers)
    return [
        Remark(
            "bad_crl",
            f"there is no revocation list of {subject(ca)}, so all its clients will be refused",
            "append its list to the file",
        )
        for ca in authority.certificates
        if ca not in covered
    ]


def _read(block: pem.Block) -> x509.CertificateRevocationList:
    if block.label != "X509 CRL":
        message = f"{block} is no revocation list (X509 CRL) but {block.label}"
        raise CertificateFault("wrong_block", message, "remove it")
    try:
        revocations = x509.load_der_x509_crl(block.der)
        _ = revocations.issuer, revocations.next_update_utc, revocations.extensions, len(revocations)
        _ = revocations.last_update_utc
    except UNREADABLE:
        fix = "fetch the list again"
        raise CertificateFault("bad_crl", f"{block} is not a readable revocation list", fix) from None
    return revocations


def _remarks(revocations: x509.CertificateRevocationList, now: datetime) -> list[Remark]:
    issuer = spell_name(revocations.issuer)
    ends = revocations.next_update_utc
    if ends is not None and now > ends:
        message = f"the revocation list of {issuer} expired on {ends:%Y-%m-%d}, so all its clients will be refused"
        return [Remark("expired", message, "fetch a new one")]
    if now < revocations.last_update_utc:
        message = f"the revocation list of {issuer} is not valid yet, so all its clients will be refused"
        return [Remark("not_yet_valid", message, "check the clock")]
    return []


def _is_signed_by(revocations: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    if revocations.issuer != ca.subject:
        return False
    try:
        key = ca.public_key()
        return revocations.is_signature_valid(key)  # type: ignore[arg-type]
    except (*UNREADABLE, InvalidSignature):
        return False
