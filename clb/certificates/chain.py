"""Check the order of a chain: each certificate is issued by the next.

Owns:      telling a wrong order from a gap and from a broken signature.
Elsewhere: whether clients trust the last one (they know, clb does not).
Pure:      certificates in, remarks out.
"""

from __future__ import annotations

from itertools import pairwise

from cryptography import x509

from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.reading import is_issued_by, is_self_issued, spell_name, subject


def check_chain(chain: list[x509.Certificate]) -> list[Remark]:
    """Order and signatures; a gap is a remark only, since some clients fill it by themselves."""
    for number, (certificate, following) in enumerate(pairwise(chain), start=1):
        if is_issued_by(certificate, following):
            continue
        _refuse_wrong_order(chain, number)
        if following.subject == certificate.issuer:
            issuer = f"block {number + 1} ({subject(following)})"
            message = f"{issuer} is named as the issuer of block {number} but did not sign it"
            raise CertificateFault("chain_broken", message, "get the issuer's present certificate from the CA")
        return [_missing(certificate, number)]
    if len(chain) == 1 and not is_self_issued(chain[0]):
        return [_missing(chain[0], 1)]
    return []


def _refuse_wrong_order(chain: list[x509.Certificate], number: int) -> None:
    """Block `number` is not followed by its issuer: is that elsewhere, or is nothing to follow?"""
    certificate = chain[number - 1]
    if chain[number] == certificate:
        message = f"block {number + 1} repeats block {number} ({subject(certificate)})"
        raise CertificateFault("chain_order", message, "remove one of them")
    for later in range(number + 1, len(chain)):
        if is_issued_by(certificate, chain[later]):
            stranger = f"block {number + 1} ({subject(chain[number])})"
            message = f"{stranger} did not issue block {number}, block {later + 1} did"
            raise CertificateFault("chain_order", message, f"put block {later + 1} directly after block {number}")
    if is_self_issued(certificate):
        message = f"block {number} ({subject(certificate)}) is a root, yet block {number + 1} follows"
        raise CertificateFault("chain_order", message, "remove what does not belong to this chain")


def _missing(certificate: x509.Certificate, number: int) -> Remark:
    issuer = spell_name(certificate.issuer)
    message = f"the issuer of block {number}, {issuer}, is not in the file"
    fix = "append its certificate, unless clients have it as a root"
    return Remark("missing_intermediate", message, fix)
