"""The keyring: what it sealed opens for the same certificate and generation, and for nothing else."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.certificates.keyring import (
    MOST_KEYS,
    Keyring,
    KeyringFault,
    KeyringMalformed,
    SealedKeyDamaged,
    WrongKeyring,
    new_secret,
    shown_id,
    with_current_key_only,
    with_new_key,
)
from clb.store.inventory import SealedKey

KEY = b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"
SECRET = b"clb-key-v1:" + base64.b64encode(bytes(range(32)))
CHAIN = "the chain"
RING = Keyring.from_secret(SECRET)


def test_a_sealed_key_opens_and_shows_nothing():
    sealed = RING.seal(KEY, "cert-a", 1, CHAIN)
    assert RING.open(sealed, "cert-a", 1, CHAIN) == KEY
    assert KEY not in sealed.sealed
    assert KEY not in sealed.wrapped
    assert repr(sealed) == f"SealedKey(key_id={RING.current!r})"


def test_the_format_stays():
    """Written by the first version: what was stored once opens with any later clb."""
    stored = SealedKey(
        "k1-b660a38a723d1667",
        bytes.fromhex(
            "a55a72b4fb75bbaf826467c55fdf51e71eecf96b7044c2d201e38d82bd38"
            "bac3221a10b9659b7d9f9715fd4e08a6f00c4721e873beb9bb49a1c74829"
        ),
        bytes.fromhex("0835edb34fbe5de1b82955160885cb69f004cae7ed01c28670fa3abe539c35161a07cf"),
    )
    assert RING.current == stored.key_id
    assert RING.open(stored, "cert-a", 1, CHAIN) == b"the key"
    assert (len(stored.wrapped), len(stored.sealed)) == (12 + 32 + 16, 12 + 7 + 16)


def test_two_seals_of_one_key_have_nothing_in_common():
    first, second = RING.seal(KEY, "cert-a", 1, CHAIN), RING.seal(KEY, "cert-a", 1, CHAIN)
    assert first.sealed != second.sealed
    assert first.wrapped != second.wrapped


@given(which=st.sampled_from(["wrapped", "sealed"]), data=st.data())
def test_one_flipped_bit_is_noticed(which, data):
    sealed = RING.seal(KEY, "cert-a", 1, CHAIN)
    record = bytearray(getattr(sealed, which))
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealedKeyDamaged):
        RING.open(replace(sealed, **{which: bytes(record)}), "cert-a", 1, CHAIN)


@given(which=st.sampled_from(["wrapped", "sealed"]), data=st.data())
def test_any_cut_is_noticed(which, data):
    sealed = RING.seal(KEY, "cert-a", 1, CHAIN)
    record = getattr(sealed, which)
    length = data.draw(st.integers(0, len(record) - 1))
    with pytest.raises(SealedKeyDamaged):
        RING.open(replace(sealed, **{which: record[:length]}), "cert-a", 1, CHAIN)


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=60))
def test_whatever_stands_in_the_store_is_a_fault_and_nothing_else(wrapped, text, key_id):
    sealed = replace(RING.seal(KEY, "cert-a", 1, CHAIN), wrapped=wrapped, sealed=text)
    for each in (sealed, replace(sealed, key_id=key_id)):
        with pytest.raises(KeyringFault) as caught:
            RING.open(each, "cert-a", 1, CHAIN)
        assert str(caught.value).isprintable()


ELSEWHERE = {
    "other_certificate": ("cert-b", 1, CHAIN),
    "other_generation": ("cert-a", 2, CHAIN),
    "other_chain": ("cert-a", 1, CHAIN + "\n"),
}


@pytest.mark.parametrize(("certificate", "generation", "chain"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_it_opens_nowhere_else(certificate, generation, chain):
    sealed = RING.seal(KEY, "cert-a", 1, CHAIN)
    with pytest.raises(SealedKeyDamaged):
        RING.open(sealed, certificate, generation, chain)
    # Not even with a data key that was wrapped for that place.
    there = RING.seal(KEY, certificate, generation, chain)
    with pytest.raises(SealedKeyDamaged):
        RING.open(replace(there, sealed=sealed.sealed), certificate, generation, chain)


def test_a_wrong_keyring_says_which_key_is_needed_and_which_are_there():
    other = Keyring.from_secret(new_secret())
    sealed = RING.seal(KEY, "cert-a", 1, CHAIN)
    with pytest.raises(WrongKeyring) as caught:
        other.open(sealed, "cert-a", 1, CHAIN)
    assert RING.current in str(caught.value)
    assert other.current in str(caught.value)
    assert (caught.value.needed, caught.value.present) == (RING.current, (other.current,))


def test_rotation():
    secret = new_secret()
    old = Keyring.from_secret(secret)
    sealed = old.seal(KEY, "cert-a", 1, CHAIN)
    both_secret = with_new_key(secret)
    both = Keyring.from_secret(both_secret)
    assert both.key_ids == (both.current, old.current)
    assert both.open(sealed, "cert-a", 1, CHAIN) == KEY
    moved = both.rewrap(sealed, "cert-a", 1)
    assert moved.key_id == both.current
    assert moved.sealed == sealed.sealed
    assert both.rewrap(moved, "cert-a", 1) is moved
    new = Keyring.from_secret(with_current_key_only(both_secret))
    assert new.key_ids == (both.current,)
    assert new.open(moved, "cert-a", 1, CHAIN) == KEY
    with pytest.raises(WrongKeyring):
        new.open(sealed, "cert-a", 1, CHAIN)


def test_rewrapping_a_damaged_record_writes_nothing():
    secret = new_secret()
    sealed = Keyring.from_secret(secret).seal(KEY, "cert-a", 1, CHAIN)
    both = Keyring.from_secret(with_new_key(secret))
    with pytest.raises(SealedKeyDamaged):
        both.rewrap(sealed, "cert-b", 1)


TAKEN = {
    "bare": SECRET,
    "comments_and_blank_lines": b"# mine\n\n  # too\n" + SECRET + b"\n\n",
    "windows": SECRET + b"\r\n",
    "two_in_one_line": SECRET + b"  " + new_secret().split(b"\n")[1],
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_taken(text):
    assert Keyring.from_secret(text).current == RING.current


REFUSED = {
    "empty": (b"", "is empty"),
    "comments_only": (b"# nothing\n", "is empty"),
    "bare_base64": (SECRET.partition(b":")[2], "key 1 of the keyring is not"),
    "private_key": (KEY, "key 1 of the keyring is not"),
    "short": (b"clb-key-v1:" + base64.b64encode(b"x" * 31), "key 1 of the keyring is not"),
    "long": (b"clb-key-v1:" + base64.b64encode(b"x" * 33), "key 1 of the keyring is not"),
    "no_base64": (SECRET + b" clb-key-v1:!!!!", "key 2 of the keyring is not"),
    "later_version": (SECRET.replace(b"v1", b"v2"), "key 1 of the keyring is not"),
    "twice": (SECRET + b"\n" + SECRET, "a key twice"),
    "binary": (b"\xff\xfe", "no ASCII text"),
    "huge": (b"#" * 20_000, "larger than"),
    "too_many": (b"x " * (MOST_KEYS + 1), "more than"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_without_a_word_of_it(text, message):
    with pytest.raises(KeyringMalformed) as caught:
        Keyring.from_secret(text)
    assert message in str(caught.value)
    assert caught.value.__cause__ is None
    assert not any(len(word) > 11 and word.decode("latin-1") in str(caught.value) for word in text.split())


def test_a_full_keyring_takes_no_more():
    secret = new_secret()
    for _ in range(MOST_KEYS - 1):
        secret = with_new_key(secret)
    with pytest.raises(KeyringMalformed, match="drop old ones first"):
        with_new_key(secret)


def test_no_secret_is_shown():
    secret = new_secret()
    ring = Keyring.from_secret(secret)
    assert repr(ring) == f"Keyring({ring.current})"
    assert "clb-key" not in repr(ring.__dict__)


def test_an_id_from_the_store_is_shown_harmlessly():
    assert shown_id("k1-\x1b[31m" + "x" * 100) == "k1-?[31m" + "x" * 32
    assert shown_id("") == "(empty)"


def test_a_damaged_id_is_told_from_a_wrong_keyring():
    sealed = RING.seal(KEY, "cert-a", 1, CHAIN)
    with pytest.raises(SealedKeyDamaged, match="names another key"):
        RING.open(replace(sealed, key_id="k1-b660a38a723d1666"), "cert-a", 1, CHAIN)
