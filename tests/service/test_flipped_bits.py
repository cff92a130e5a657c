"""One flipped bit in what a certificate of the store consists of: it does not open, whatever bit it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "certificates"))

from certificate_lab import certificate, ec_key, pem

from clb.certificates.keyring import Keyring, new_secret
from clb.certificates.upload import Upload, judge
from clb.service.stored_certificates import Unusable, open_certificate
from clb.store.inventory import Certificate, Material

NOW = datetime.now(UTC)
DATES = {"begins": NOW - timedelta(days=1), "ends": NOW + timedelta(days=90)}
RING = Keyring.from_secret(new_secret())
ISSUER = ("issuer", ec_key("issuer"))
ISSUER_PEM = pem(certificate("issuer", ISSUER[1], ("root", ec_key("root")), ca=True, **DATES))
CHAIN = pem(certificate("leaf", ec_key("leaf"), ISSUER, names=("a.example",), **DATES)) + ISSUER_PEM


def stored(kind, upload):
    sound = judge(upload, now=NOW).sound
    chain = sound.chain_pem.decode()
    sealed = RING.seal(sound.private_key_pem, "cert-a", 1, chain) if sound.private_key_pem else None
    told = sound.description
    material = Material(chain, sealed, told.fingerprint, told.key_digest, told.not_before, told.not_after)
    return Certificate("cert-a", "a", kind, material, None, 1, None, False, 1, NOW, NOW)


SERVER = stored("server", Upload("server", CHAIN, pem(ec_key("leaf"))))
CA = stored("ca", Upload("ca", ISSUER_PEM))


def flipped(value, bit):
    data = bytearray(value if isinstance(value, bytes) else value.encode())
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data) if isinstance(value, bytes) else bytes(data).decode("utf-8", "replace")


def with_flip(whole, field, bit):
    material, sealed = whole.material, whole.material.sealed_key
    if hasattr(material, field):
        return replace(whole, material=replace(material, **{field: flipped(getattr(material, field), bit)}))
    return replace(
        whole, material=replace(material, sealed_key=replace(sealed, **{field: flipped(getattr(sealed, field), bit)}))
    )


def bits(field, whole):
    source = whole.material if hasattr(whole.material, field) else whole.material.sealed_key
    value = getattr(source, field)
    return st.integers(0, len(value.encode() if isinstance(value, str) else value) * 8 - 1)


@pytest.mark.parametrize("field", ["chain_pem", "fingerprint", "key_id", "wrapped", "sealed"])
@given(data=st.data())
def test_a_server_certificate(field, data):
    broken = with_flip(SERVER, field, data.draw(bits(field, SERVER)))
    with pytest.raises(Unusable):
        open_certificate(broken, RING)


@pytest.mark.parametrize("field", ["chain_pem", "fingerprint"])
@given(data=st.data())
def test_a_ca(field, data):
    broken = with_flip(CA, field, data.draw(bits(field, CA)))
    try:
        opened = open_certificate(broken, None)
    except Unusable:
        return
    # Only what says the same: an end of a line, or bits of base64 that stand for nothing.
    assert opened == open_certificate(CA, None)


@given(st.integers(0, 40))
def test_a_generation(bit):
    with pytest.raises(Unusable):
        open_certificate(replace(SERVER, generation=SERVER.generation ^ 1 << bit), RING)


def test_sound_ones_open():
    assert open_certificate(SERVER, RING).facts.key_digest == SERVER.material.key_digest
    assert open_certificate(CA, None).authority == ISSUER_PEM
