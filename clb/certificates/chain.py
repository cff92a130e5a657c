"""Check the order of a chain, or make it: each certificate is issued by the next.

Owns:      telling a wrong order from a gap and from a broken signature; putting a chain in order.
Elsewhere: whether clients trust the last one (they know, clb does not).
Pure:      certificates in, remarks or certificates out.
"""

from __future__ import annotations

from itertools import pairwise

from cryptography import x509

from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.reading import (
    is_authority,
    is_issued_by,
    is_self_issued,
    public_key_digest,
    spell_name,
    subject,
)


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


def in_order(certificates: list[x509.Certificate], key: str | None) -> list[x509.Certificate]:
    """The same certificates, leaf first and each followed by its issuer; repetitions are left out.

    The leaf is the one that the private key belongs to (`key` is its digest), or else the only one that is no CA.
    """
    rest = list(dict.fromkeys(certificates))
    chain = [_leaf(rest, key)]
    rest.remove(chain[0])
    while rest and (issuer := _issuer(chain[-1], rest)) is not None:
        chain.append(issuer)
        rest.remove(issuer)
    if rest:
        names = ", ".join(subject(certificate) for certificate in rest[:3])
        more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
        message = f"{names}{more} did not issue anything of this chain"
        raise CertificateFault("chain_order", message, "remove what does not belong to this chain")
    return chain


def _leaf(certificates: list[x509.Certificate], key: str | None) -> x509.Certificate:
    for certificate in certificates:
        if key is not None and public_key_digest(certificate) == key:
            return certificate
    leaves = [certificate for certificate in certificates if not is_authority(certificate)]
    return leaves[0] if len(leaves) == 1 else certificates[0]


def _issuer(certificate: x509.Certificate, among: list[x509.Certificate]) -> x509.Certificate | None:
    if is_self_issued(certificate):
        return None
    return next((each for each in among if is_issued_by(certificate, each)), None)
