"""Reading X.509: oddities that the library warns of or fails at stay inside."""

from __future__ import annotations

from datetime import timedelta

import pytest
from certificate_lab import NOW, certificate, der, ec_key, pem, rsa_key
from cryptography import x509

from clb.certificates import reading
from clb.certificates.authority import load_ca_certificate
from clb.certificates.faults import CertificateFault
from clb.certificates.pem import split

KEY = ec_key("leaf")
NAME_OID, COUNTRY_OID = bytes.fromhex("0603550403"), bytes.fromhex("0603550406")


def test_a_name_the_library_warns_of() -> None:
    # A country of four letters: warnings are errors in these tests.
    odd = pem(x509.load_der_x509_certificate(der(certificate("root", KEY, ca=True)).replace(NAME_OID, COUNTRY_OID)))
    authority = load_ca_certificate(odd, now=NOW + timedelta(days=100))
    assert "C=root expired" in authority.warnings[0].message


def test_a_name_of_control_characters_is_shown_printable() -> None:
    text = reading.subject(certificate("a\x1b[31m" + "b" * 50, KEY))
    assert text.isprintable()
    assert len(text) <= 120


def test_no_name_at_all() -> None:
    assert reading.subject(certificate("", KEY)) == "(no name)"


def test_a_key_the_library_does_not_know() -> None:
    # The curve's OID with another last arc.
    data = der(certificate("leaf", KEY)).replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030177"))
    with pytest.raises(CertificateFault, match="has a key of an unknown kind") as caught:
        reading.check_public_key(x509.load_der_x509_certificate(data), "the certificate")
    assert caught.value.code == "key_unsupported"


def test_a_signature_by_an_unknown_algorithm_is_left_to_the_clients() -> None:
    signed = certificate("leaf", KEY, ("root", rsa_key()))
    data = der(signed).replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010177"))
    reading.check_signature_hash(x509.load_der_x509_certificate(data), "the certificate")


def test_an_extension_twice() -> None:
    # The OID of basicConstraints in place of that of the alternative names.
    data = der(certificate("leaf", KEY, names=("a.example",))).replace(b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x1d\x13")
    with pytest.raises(CertificateFault) as caught:
        reading.read_certificate(split(pem(x509.load_der_x509_certificate(data)))[0])
    assert caught.value.code == "bad_certificate"


def test_issued_by() -> None:
    root = certificate("root", ec_key("root"), ca=True)
    leaf = certificate("leaf", KEY, ("root", ec_key("root")))
    assert reading.is_issued_by(leaf, root)
    assert not reading.is_issued_by(leaf, certificate("root", ec_key("other"), ca=True))
    assert not reading.is_issued_by(leaf, certificate("root", rsa_key(), ca=True))
    assert not reading.is_issued_by(leaf, leaf)
