"""Revocation lists: readable, in time, and by the CAs of the listener."""

from __future__ import annotations

from datetime import timedelta

import pytest
from certificate_lab import NOW, certificate, ec_key, pem, revocation_list

from clb.certificates.authority import load_ca_certificate
from clb.certificates.faults import CertificateFault
from clb.certificates.revocation import check_issuers, load_crl

ROOT, OTHER = (certificate(name, ec_key(name), ca=True) for name in ("root", "other"))
LIST = revocation_list("root", ec_key("root"))

REFUSED = {
    "certificate": (pem(ROOT), "wrong_block", "is no revocation list (X509 CRL) but CERTIFICATE"),
    "damaged": (
        b"-----BEGIN X509 CRL-----\nMAMCAQU=\n-----END X509 CRL-----\n",
        "bad_crl",
        "not a readable revocation",
    ),
    "empty": (b"", "empty", "the file is empty"),
}
DATES = {"good": (0, []), "expired": (2, ["expired"]), "early": (-2, ["not_yet_valid"])}


@pytest.mark.parametrize(("data", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, code: str, text: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        load_crl(data, now=NOW)
    assert caught.value.code == code
    assert text in str(caught.value)


@pytest.mark.parametrize(("days", "codes"), DATES.values(), ids=DATES)
def test_dates(days: int, codes: list[str]) -> None:
    revocations = load_crl(pem(LIST), now=NOW + timedelta(days=days))
    assert [remark.code for remark in revocations.warnings] == codes
    assert all("all its clients will be refused" in remark.message for remark in revocations.warnings)
    assert revocations.pem == pem(LIST)


def test_each_list_is_by_one_of_the_authorities() -> None:
    revocations = load_crl(pem(LIST), now=NOW)
    assert check_issuers(revocations, load_ca_certificate(pem(ROOT), now=NOW)) == []
    with pytest.raises(CertificateFault, match="the revocation list of CN=root is by none of the listener's CAs"):
        check_issuers(revocations, load_ca_certificate(pem(OTHER), now=NOW))


def test_a_list_by_the_name_but_not_the_key_of_the_authority_is_refused() -> None:
    forged = load_crl(pem(revocation_list("root", ec_key("other"))), now=NOW)
    with pytest.raises(CertificateFault, match="by none of the listener's CAs"):
        check_issuers(forged, load_ca_certificate(pem(ROOT), now=NOW))


def test_an_authority_without_a_list_is_warned_of() -> None:
    (remark,) = check_issuers(load_crl(pem(LIST), now=NOW), load_ca_certificate(pem(ROOT, OTHER), now=NOW))
    assert remark.message == "there is no revocation list of CN=other, so all its clients will be refused"
