"""Encrypted keys that would take too long are refused before anything is tried."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from certificate_lab import ec_key
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from clb.certificates.faults import CertificateFault
from clb.certificates.key_protection import check_effort
from clb.certificates.keys import read_private_key
from clb.certificates.pem import Block, split

PEM = ec_key("leaf").private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"passphrase"),
)
(ENCRYPTED,) = split(PEM)


def der(tag, *contents):
    content = b"".join(contents)
    length = len(content)
    head = bytes([length]) if length < 128 else bytes([0x82, *divmod(length, 256)])
    return bytes([tag]) + head + content


def number(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1))


def protected(*parameters, scheme="2a864886f70d01050c"):
    derivation = der(0x30, der(6, bytes.fromhex(scheme)), der(0x30, der(4, b"salt"), *map(number, parameters)))
    cipher = der(0x30, der(6, bytes.fromhex("60864801650304012a")), der(4, b"i" * 16))
    pbes2 = der(6, bytes.fromhex("2a864886f70d01050d"))
    return der(0x30, der(0x30, pbes2, der(0x30, derivation, cipher)), der(4, b"x" * 160))


SCRYPT = "2b06010401da47040b"
EFFORTS = {
    "openssl": (protected(2048), True),
    "careful": (protected(600_000), True),
    "endless": (protected(2**31 - 1), False),
    "enormous": (protected(2**200), False),
    "with_key_length": (protected(600_000, 32), True),
    "scrypt": (protected(16384, 8, 1, scheme=SCRYPT), True),
    "scrypt_with_key_length": (protected(16384, 8, 1, 32, scheme=SCRYPT), True),
    "scrypt_large": (protected(2**20, 8, 1, scheme=SCRYPT), False),
    "scrypt_parallel": (protected(16384, 8, 1000, scheme=SCRYPT), False),
}


@pytest.mark.parametrize(("data", "is_taken"), EFFORTS.values(), ids=EFFORTS)
def test_effort(data, is_taken):
    block = Block("ENCRYPTED PRIVATE KEY", 1, 1, data, True)
    if is_taken:
        check_effort(block)
        return
    with pytest.raises(CertificateFault) as caught:
        check_effort(block)
    assert caught.value.code == "key_too_slow"


def test_the_library_s_own_choice_is_taken():
    assert read_private_key(PEM, b"passphrase").digest


def test_an_endless_key_is_refused_at_once():
    text = Block("ENCRYPTED PRIVATE KEY", 1, 1, protected(2**31 - 1), True).as_pem()
    started = time.process_time()
    with pytest.raises(CertificateFault) as caught:
        read_private_key(text, b"x")
    assert caught.value.code == "key_too_slow"
    assert time.process_time() - started < 1


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(data):
    block = Block("ENCRYPTED PRIVATE KEY", 1, 1, data, True)
    with suppress(CertificateFault):
        check_effort(block)


@given(st.data())
def test_damaged_parameters_never_raise_anything_else(data):
    broken = bytearray(ENCRYPTED.der)
    broken[data.draw(st.integers(0, 80))] ^= 1 << data.draw(st.integers(0, 7))
    block = Block("ENCRYPTED PRIVATE KEY", 1, 1, bytes(broken), True)
    with suppress(CertificateFault):
        check_effort(block)
