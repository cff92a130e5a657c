"""Private keys: formats that are taken, faults that are told, and silence about the key itself."""

from __future__ import annotations

import pytest
from certificate_lab import certificate, dsa_key, ec_key, pem, rsa_key
from cryptography.hazmat.primitives import serialization

from clb.certificates.faults import CertificateFault
from clb.certificates.keys import read_private_key

PEM = serialization.Encoding.PEM
OLD = serialization.PrivateFormat.TraditionalOpenSSL
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
SECRET = serialization.BestAvailableEncryption(b"passphrase")
KEY = ec_key("leaf")
DAMAGED = b"-----BEGIN PRIVATE KEY-----\nMAMCAQU=\n-----END PRIVATE KEY-----\n"

TAKEN = {
    "pkcs8": pem(KEY),
    "old_ec": KEY.private_bytes(PEM, OLD, PLAIN),
    "old_ec_with_parameters": b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    + KEY.private_bytes(PEM, OLD, PLAIN),
    "with_its_certificate": pem(certificate("leaf", KEY), KEY),
}
REFUSED = {
    "encrypted": (KEY.private_bytes(PEM, PKCS8, SECRET), "key_encrypted", "openssl pkey -in FILE"),
    "encrypted_old": (rsa_key().private_bytes(PEM, OLD, SECRET), "key_encrypted", "in block 1 (line 1) is encrypted"),
    "openssh": (
        KEY.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, PLAIN),
        "wrong_block",
        "is a key in OpenSSH's own format",
    ),
    "dsa": (pem(dsa_key()), "key_unsupported", "is of another kind"),
    "damaged": (DAMAGED, "bad_key", "is not readable"),
    "none": (pem(certificate("leaf", KEY)), "key_missing", "no private key"),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_taken(data: bytes) -> None:
    key = read_private_key(data)
    assert key.pem == pem(KEY)
    assert key.digest == read_private_key(pem(KEY)).digest
    assert "BEGIN" not in repr(key)


@pytest.mark.parametrize(("data", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, code: str, text: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        read_private_key(data)
    assert caught.value.code == code
    assert text in str(caught.value)


@pytest.mark.parametrize("data", [case[0] for case in REFUSED.values()], ids=REFUSED)
def test_no_line_of_the_file_is_in_the_fault(data: bytes) -> None:
    with pytest.raises(CertificateFault) as caught:
        read_private_key(data)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert not any(line.decode() in str(error) for line in data.splitlines() if line.strip(b"-") and line[:1] != b"-")
