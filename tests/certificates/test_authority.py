"""CA certificates: what clients may be checked against."""

from __future__ import annotations

from datetime import timedelta

import pytest
from certificate_lab import NOW, certificate, ec_key, pem, rsa_key

from clb.certificates.authority import load_ca_certificate
from clb.certificates.faults import CertificateFault

KEY = ec_key("root")
ROOT = certificate("root", KEY, ca=True)
OTHER = certificate("other", ec_key("other"), ca=True, sign=True)

REFUSED = {
    "leaf": (pem(certificate("leaf", KEY)), "not_ca", "block 1 (line 1), CN=leaf, is not a CA certificate"),
    "leaf_in_bundle": (pem(ROOT, certificate("leaf", KEY)), "not_ca", "block 2"),
    "ca_that_may_not_sign": (pem(certificate("odd", KEY, ca=True, sign=False)), "not_ca", "CN=odd"),
    "with_key": (pem(ROOT, KEY), "key_in_certificate", "is a private key, which a CA certificate must come without"),
    "list": (pem(ROOT).replace(b" CERTIFICATE", b" X509 CRL"), "wrong_block", "is no certificate but X509 CRL"),
    "damaged": (
        b"-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n",
        "bad_certificate",
        "block 1 (line 1) is not a readable certificate",
    ),
    "empty": (b"", "empty", "the file is empty"),
}


def test_a_bundle_keeps_each_once() -> None:
    authority = load_ca_certificate(pem(ROOT, OTHER, ROOT), now=NOW)
    assert authority.certificates == (ROOT, OTHER)
    assert authority.pem == pem(ROOT, OTHER)
    assert authority.warnings == ()


@pytest.mark.parametrize(("data", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, code: str, text: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        load_ca_certificate(data, now=NOW)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_an_expired_ca_and_a_weak_one_are_warned_of() -> None:
    old = certificate("old", KEY, ca=True, ends=NOW - timedelta(days=1))
    weak = certificate("weak", rsa_key(1024), ca=True)
    assert [(remark.code, remark.message) for remark in load_ca_certificate(pem(old, weak), now=NOW).warnings] == [
        ("expired", "the CA certificate CN=old expired on 2026-05-31"),
        ("weak_key", f"block 2 (line {len(pem(old).splitlines()) + 1}), CN=weak, has an RSA key of only 1024 bits"),
    ]
