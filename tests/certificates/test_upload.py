"""Uploads: each fault by its code at its field, all of them at once, and what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from certificate_lab import NOW, certificate, der, ec_key, pem, rsa_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from clb.certificates.faults import CODES
from clb.certificates.upload import Known, Upload, judge

ROOT = ("root", ec_key("root"))
ISSUER = ("issuer", ec_key("issuer"))
ROOT_CERTIFICATE = certificate("root", ROOT[1], ca=True)
ISSUER_CERTIFICATE = certificate("issuer", ISSUER[1], ROOT, ca=True)
KEY = ec_key("leaf")
LEAF = certificate("leaf", KEY, ISSUER, names=("shop.example", "*.shop.example"))
GOOD = Upload("server", pem(LEAF, ISSUER_CERTIFICATE), pem(KEY))
CA = Upload("ca", pem(ROOT_CERTIFICATE))
PEM = serialization.Encoding.PEM
SECRET = serialization.BestAvailableEncryption(b"open sesame")
ENCRYPTED = KEY.private_bytes(PEM, serialization.PrivateFormat.PKCS8, SECRET)
ENCRYPTED_OLD = rsa_key().private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, SECRET)
P12 = pkcs12.serialize_key_and_certificates(b"x", KEY, LEAF, None, serialization.NoEncryption())


def codes(findings):
    return [(each.field, each.code) for each in findings]


def dated(**dates):
    return pem(certificate("leaf", KEY, names=("shop.example",), **dates))


EXPIRED, EARLY = dated(ends=NOW - timedelta(days=1)), dated(begins=NOW + timedelta(days=1))

REFUSED = {
    "der": (replace(GOOD, certificate=der(LEAF)), ("certificate", "is_der"), "openssl x509 -inform DER"),
    "pkcs12": (replace(GOOD, certificate=P12), ("certificate", "is_pkcs12"), "openssl pkcs12 -in FILE"),
    "damaged": (replace(GOOD, certificate=pem(LEAF)[:-40]), ("certificate", "bad_block"), "block 1 (line 1"),
    "no_key": (replace(GOOD, private_key=None), ("private_key", "key_missing"), "none was sent"),
    "blank_key": (replace(GOOD, private_key=b" \n"), ("private_key", "key_missing"), "none was sent"),
    "certificate_as_key": (replace(GOOD, private_key=pem(LEAF)), ("private_key", "key_missing"), "no private key"),
    "encrypted": (replace(GOOD, private_key=ENCRYPTED), ("passphrase", "key_encrypted"), "send its passphrase along"),
    "wrong_passphrase": (
        replace(GOOD, private_key=ENCRYPTED, passphrase=b"open barley"),
        ("passphrase", "wrong_passphrase"),
        "does not open",
    ),
    "mismatch": (replace(GOOD, private_key=pem(ec_key("x"))), ("private_key", "key_mismatch"), "does not match"),
    "backwards": (
        replace(GOOD, certificate=pem(ISSUER_CERTIFICATE, LEAF)),
        ("certificate", "leaf_is_ca"),
        'or send it with "reorder"',
    ),
    "ca_as_server": (Upload("server", pem(ROOT_CERTIFICATE), pem(ROOT[1])), ("certificate", "leaf_is_ca"), "is a CA"),
    "server_as_ca": (Upload("ca", pem(LEAF)), ("certificate", "not_ca"), "is not a CA certificate"),
    "key_with_ca": (replace(CA, private_key=pem(KEY)), ("private_key", "key_not_wanted"), "send the certificate alone"),
    "key_in_ca": (Upload("ca", pem(ROOT_CERTIFICATE, KEY)), ("certificate", "key_in_certificate"), "is a private key"),
    "expired": (replace(GOOD, certificate=EXPIRED), ("certificate", "expired"), 'with "force"'),
    "not_yet_valid": (replace(GOOD, certificate=EARLY), ("certificate", "not_yet_valid"), 'with "force"'),
    "expired_ca": (
        Upload("ca", pem(certificate("root", ROOT[1], ca=True, ends=NOW - timedelta(days=1)))),
        ("certificate", "expired"),
        'with "force"',
    ),
    "weak": (
        Upload("server", pem(certificate("leaf", rsa_key(1024), names=("x",))), pem(rsa_key(1024))),
        ("certificate", "weak_key"),
        "only 1024 bits",
    ),
}


@pytest.mark.parametrize(("upload", "finding", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(upload, finding, text):
    verdict = judge(upload, now=NOW)
    assert verdict.sound is None
    assert codes(verdict.errors) == [finding]
    assert text in str(verdict.errors[0])
    assert finding[1] in CODES


def test_what_is_good():
    sound = judge(GOOD, now=NOW).sound
    assert sound is not None
    assert (sound.chain_pem, sound.private_key_pem) == (GOOD.certificate, GOOD.private_key)
    assert (sound.description.names, sound.description.key) == (("shop.example", "*.shop.example"), "ECDSA P-256")
    assert (sound.description.subject, sound.description.issuer, sound.description.length) == (
        "CN=leaf",
        "CN=issuer",
        2,
    )
    assert "PRIVATE" not in repr(sound) + repr(GOOD)


def test_a_ca():
    verdict = judge(CA, now=NOW)
    assert verdict.sound is not None
    assert verdict.sound.private_key_pem is None
    assert (verdict.errors, verdict.warnings) == ((), ())


def test_faults_of_both_parts_come_together():
    verdict = judge(Upload("server", b"hello", b"hello"), now=NOW)
    assert codes(verdict.errors) == [("private_key", "not_pem"), ("certificate", "not_pem")]


# --- passphrases ---


@pytest.mark.parametrize(
    ("key", "stored"), [(ENCRYPTED, KEY), (ENCRYPTED_OLD, rsa_key())], ids=["pkcs8", "traditional"]
)
def test_a_passphrase_opens_and_is_forgotten(key, stored):
    leaf = certificate("leaf", stored, names=("shop.example",))
    sound = judge(Upload("server", pem(leaf), key, b"open sesame"), now=NOW).sound
    assert sound is not None
    assert sound.private_key_pem == pem(stored)


def test_a_passphrase_for_an_open_key_is_ignored():
    assert judge(replace(GOOD, passphrase=b"x"), now=NOW).sound is not None


# --- the order of the chain ---

ORDERS = {
    "right": (LEAF, ISSUER_CERTIFICATE, ROOT_CERTIFICATE),
    "backwards": (ROOT_CERTIFICATE, ISSUER_CERTIFICATE, LEAF),
    "mixed": (ISSUER_CERTIFICATE, LEAF, ROOT_CERTIFICATE),
    "repeated": (LEAF, LEAF, ISSUER_CERTIFICATE, ROOT_CERTIFICATE),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_put_in_order_on_request(order):
    verdict = judge(replace(GOOD, certificate=pem(*order), reorder=True), now=NOW)
    assert verdict.sound is not None
    assert verdict.sound.chain_pem == pem(*ORDERS["right"])
    expected = [] if order == ORDERS["right"] else [("certificate", "chain_reordered")]
    assert codes(verdict.warnings) == expected


def test_a_stranger_in_the_chain_is_not_dropped_silently():
    stranger = certificate("stranger", ec_key("stranger"), ca=True)
    verdict = judge(replace(GOOD, certificate=pem(stranger, LEAF), reorder=True), now=NOW)
    assert codes(verdict.errors) == [("certificate", "chain_order")]
    assert "CN=stranger did not issue anything of this chain" in str(verdict.errors[0])


# --- what is there already ---


def known(name, owner="api", kind="server", fingerprint="", digest="", roots=()):
    return Known(name, owner, kind, fingerprint, digest, roots)


def test_the_owner_of_a_wrong_key_is_named():
    wrong = judge(GOOD, now=NOW).sound.description
    other = certificate("leaf", ec_key("x"), names=("shop.example",))
    right = judge(Upload("server", pem(other), pem(ec_key("x"))), now=NOW).sound.description
    others = [known("old", digest=wrong.key_digest), known("new", "file", digest=right.key_digest)]
    (finding,) = judge(Upload("server", pem(other), pem(KEY)), others, now=NOW).errors
    assert finding.code == "key_mismatch"
    assert 'it is the key of certificate "old"; certificate "new" has the right key' in finding.message


@pytest.mark.parametrize(("owner", "refused"), [("api", True), ("file", False)])
def test_duplicates(owner, refused):
    description = judge(GOOD, now=NOW).sound.description
    verdict = judge(GOOD, [known("twin", owner, fingerprint=description.fingerprint)], now=NOW)
    assert codes(verdict.errors if refused else verdict.warnings)[-1] == ("certificate", "duplicate")
    assert (verdict.sound is None) is refused


def test_a_missing_issuer_is_named_unless_its_root_is_known():
    leaf = certificate("leaf", KEY, ROOT, names=("shop.example",))
    upload = replace(GOOD, certificate=pem(leaf))
    (finding,) = judge(upload, now=NOW).warnings
    assert (finding.code, "CN=root" in finding.message) == ("missing_intermediate", True)
    assert judge(upload, [known("roots", kind="ca", roots=(ROOT_CERTIFICATE,))], now=NOW).warnings == ()


def test_domains_that_it_is_not_for():
    verdict = judge(GOOD, domains=("shop.example", "a.shop.example", "b.example", "~^x"), now=NOW)
    assert codes(verdict.warnings)[-1] == ("certificate", "names_uncovered")
    assert "is not for b.example, which it would serve" in str(verdict.warnings[-1])
    assert verdict.sound is not None


# --- dates ---


@pytest.mark.parametrize(("text", "code"), [(EXPIRED, "expired"), (EARLY, "not_yet_valid")], ids=["expired", "early"])
def test_force(text, code):
    verdict = judge(replace(GOOD, certificate=text, force=True), now=NOW)
    assert verdict.sound is not None
    assert codes(verdict.warnings) == [("certificate", code)]


def test_nothing_of_the_key_is_in_any_text():
    for upload, _, _ in REFUSED.values():
        verdict = judge(upload, now=NOW)
        shown = repr(verdict) + repr(upload)
        for line in (upload.private_key or b"").splitlines():
            assert len(line) < 16 or line[:1] == b"-" or line.decode() not in shown
        assert "sesame" not in shown
        assert "barley" not in shown
