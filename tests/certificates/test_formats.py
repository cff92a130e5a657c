"""What is no PEM is recognised, and the command that makes PEM of it really does."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from certificate_lab import certificate, der, ec_key, pem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from clb.certificates.faults import CertificateFault
from clb.certificates.formats import der_missing_bytes
from clb.certificates.pem import split

KEY = ec_key("leaf")
LEAF = certificate("leaf", KEY, names=("a.example",))
P12 = pkcs12.serialize_key_and_certificates(b"x", KEY, LEAF, None, serialization.NoEncryption())
P7 = pkcs7.serialize_certificates([LEAF], serialization.Encoding.DER)
TRADITIONAL = KEY.private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)

FORMATS = {
    "empty": (b"", "empty", "the file is empty"),
    "blank": (b" \n\n", "empty", "the file is empty"),
    "der_certificate": (der(LEAF), "is_der", "openssl x509 -inform DER"),
    "der_key": (der(KEY), "is_der", "openssl pkey -inform DER"),
    "der_old_key": (TRADITIONAL, "is_der", "openssl pkey -inform DER"),
    "pkcs7": (P7, "is_pkcs7", "openssl pkcs7 -inform DER"),
    "pkcs12": (P12, "is_pkcs12", "openssl pkcs12"),
    "keystore": (b"\xfe\xed\xfe\xed\x00\x00\x00\x02", "is_jks", "keytool"),
    "utf_16": (pem(LEAF).decode().encode("utf-16"), "not_pem", "UTF-16"),
    "bare_base64": (b"".join(pem(LEAF).splitlines(keepends=True)[1:-1]), "not_pem", "without BEGIN and END lines"),
    "text": (b"hello world", "not_pem", "no PEM block"),
    "text_from_nought": (b"0123456789", "not_pem", "no PEM block"),
    "short_der": (b"\x30\x03\x02\x01\x05\x00\x00\x00", "is_der", "DER"),
}


@pytest.mark.parametrize(("data", "code", "text"), FORMATS.values(), ids=FORMATS)
def test_format(data: bytes, code: str, text: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        split(data)
    assert caught.value.code == code
    assert text in str(caught.value)


CONVERSIONS = {
    "der_certificate": (der(LEAF), "CERTIFICATE"),
    "der_key": (der(KEY), "PRIVATE KEY"),
    "pkcs7": (P7, "CERTIFICATE"),
    "pkcs7_pem": (pkcs7.serialize_certificates([LEAF], serialization.Encoding.PEM), "CERTIFICATE"),
    "pkcs12": (P12, "CERTIFICATE"),
}


@pytest.mark.parametrize(("data", "label"), CONVERSIONS.values(), ids=CONVERSIONS)
def test_the_command_that_is_named_converts(tmp_path: Path, data: bytes, label: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(CertificateFault) as caught:
        split(data)
    command = caught.value.fix.removeprefix("run: ").partition(" (")[0].partition(", and")[0]
    words = shlex.split(command.replace("FILE", str(file)))
    if "pkcs12" in words:
        words += ["-passin", "pass:"]
    subprocess.run(words, check=True, capture_output=True)
    assert split(Path(f"{file}.pem").read_bytes())[0].label == label


def test_missing_bytes_of_der() -> None:
    data = der(LEAF)
    assert der_missing_bytes(data) == 0
    assert der_missing_bytes(data[:-5]) == 5
    assert der_missing_bytes(data + b"xx") == -2
    assert der_missing_bytes(b"\x30\x03\x02\x01") == 1
    assert [der_missing_bytes(other) for other in (b"", b"\x30", b"\x31\x05", b"\x30\x80", b"\x30\x84\x01")] == [0] * 5
