"""A node's own certificate: what is in it, and when it must be made anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clb.certificates.reading import host_names
from clb.certificates.self_made import (
    LIFETIME,
    RENEWED_BEFORE,
    is_good,
    make_certificate,
    make_key,
    names_for,
    public_key_pin,
    read_key,
    read_own,
    write_certificate,
    write_key,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY = make_key()
NAMES = ("127.0.0.1", "::1", "clb-1", "localhost")


def certificate(names=NAMES, key=KEY, now=NOW):
    return make_certificate(key, names, now)


def test_contents():
    made = certificate()
    assert sorted(host_names(made)) == sorted(NAMES)
    assert made.not_valid_after_utc == NOW + LIFETIME
    assert made.not_valid_before_utc < NOW
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    made.verify_directly_issued_by(made)


WANTED = {
    "each_once": (("a", "A", "a.", "b"), ("a", "b")),
    "addresses": (("::1", "127.0.0.1"), ("127.0.0.1", "::1")),
    "not_all_addresses": (("0.0.0.0", "::", "x"), ("x",)),
    "nothing_odd": (("", "ä", "a b", "x"), ("x",)),
}


@pytest.mark.parametrize(("wanted", "names"), WANTED.values(), ids=WANTED)
def test_names(wanted, names):
    assert names_for(*wanted) == names


GOOD = {
    "fresh": (NAMES, KEY, NOW, True),
    "nearly_over": (NAMES, KEY, NOW + LIFETIME - RENEWED_BEFORE - timedelta(seconds=1), True),
    "to_be_renewed": (NAMES, KEY, NOW + LIFETIME - RENEWED_BEFORE, False),
    "from_the_future": (NAMES, KEY, NOW - timedelta(days=1), False),
    "another_name": ((*NAMES, "clb-2"), KEY, NOW, False),
    "fewer_names": (NAMES[1:], KEY, NOW, False),
    "another_key": (NAMES, make_key(), NOW, False),
}


@pytest.mark.parametrize(("names", "key", "now", "expected"), GOOD.values(), ids=GOOD)
def test_when_it_still_does(names, key, now, expected):
    assert is_good(certificate(), key, names, now) is expected


def test_files():
    made = certificate()
    assert read_own(write_certificate(made)) == made
    again = read_key(write_key(KEY))
    assert again is not None
    assert again.private_numbers() == KEY.private_numbers()
    assert read_own(b"nonsense") is None
    others = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = others.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert read_key(pem) is None
    assert read_key(b"nonsense") is None


def test_the_pin_stays_with_the_key():
    assert public_key_pin(certificate()) == public_key_pin(certificate(now=NOW + timedelta(days=700)))
    assert public_key_pin(certificate()) != public_key_pin(certificate(key=make_key()))
    assert public_key_pin(certificate()).startswith("sha256//")
