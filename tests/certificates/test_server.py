"""Server certificates: what is served, what is refused and by which code."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from certificate_lab import NOW, certificate, der, dsa_key, ec_key, ed_key, pem, rsa_key
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from clb.certificates.faults import CertificateFault
from clb.certificates.server import leaf_digest, load_server_certificate, private_key_digest

ROOT, INTERMEDIATE = ("root", ec_key("root")), ("intermediate", ec_key("intermediate"))
ROOT_CERTIFICATE = certificate("root", ROOT[1], ca=True)
INTERMEDIATE_CERTIFICATE = certificate("intermediate", INTERMEDIATE[1], ROOT, ca=True)
KEY = ec_key("leaf")
LEAF = certificate("leaf", KEY, INTERMEDIATE, names=("Shop.example", "*.shop.example", "10.0.0.5", "fd00::5"))
CHAIN = pem(LEAF, INTERMEDIATE_CERTIFICATE)


def alone(key: object, **more: object) -> bytes:
    return pem(certificate("alone", key, names=("a.example",), **more))  # type: ignore[arg-type]


def signed_with_sha1(signed: x509.Certificate) -> x509.Certificate:
    """The library signs with SHA-1 no more, so the names of the algorithm are exchanged; nobody verifies here."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    return x509.load_der_x509_certificate(der(signed).replace(sha256, sha1))


SERVED = {
    "ec_p256": (alone(KEY), KEY, "ECDSA"),
    "ec_p384": (alone(ec_key("x", ec.SECP384R1)), ec_key("x", ec.SECP384R1), "ECDSA"),
    "ec_p521": (alone(ec_key("x", ec.SECP521R1)), ec_key("x", ec.SECP521R1), "ECDSA"),
    "rsa": (alone(rsa_key()), rsa_key(), "RSA"),
    "chain": (CHAIN, KEY, "ECDSA"),
    "chain_with_root": (CHAIN + pem(ROOT_CERTIFICATE), KEY, "ECDSA"),
}
REFUSED = {
    "empty": (b"", pem(KEY), "empty", "the file is empty"),
    "empty_key": (CHAIN, b"", "empty", "the file is empty"),
    "certificate_for_key": (CHAIN, CHAIN, "key_missing", "the file has no private key"),
    "key_for_certificate": (pem(KEY), pem(KEY), "key_in_certificate", "block 1 (line 1) is a private key"),
    "key_behind_certificate": (CHAIN + pem(KEY), pem(KEY), "key_in_certificate", "block 3"),
    "public_key_among_certificates": (
        CHAIN + pem(LEAF).replace(b" CERTIFICATE", b" PUBLIC KEY"),
        pem(KEY),
        "wrong_block",
        "is no certificate but PUBLIC KEY",
    ),
    "wrong_key": (CHAIN, pem(ec_key("other")), "key_mismatch", "does not match the certificate (CN=leaf)"),
    "wrong_kind_of_key": (CHAIN, pem(rsa_key()), "key_mismatch", "does not match the certificate"),
    "two_keys": (CHAIN, pem(KEY, ec_key("other")), "key_repeated", "2 private keys (block 1 (line 1), block 2 (line"),
    "chain_backwards": (
        pem(INTERMEDIATE_CERTIFICATE, LEAF),
        pem(KEY),
        "leaf_is_ca",
        "the first certificate (CN=intermediate) is a CA; put the server's own certificate first",
    ),
    "self_signed_ca": (pem(ROOT_CERTIFICATE), pem(ROOT[1]), "leaf_is_ca", "-addext basicConstraints=critical,CA:FALSE"),
    "key_of_the_second": (
        pem(certificate("front", ec_key("other"), INTERMEDIATE, names=("x",)), LEAF),
        pem(KEY),
        "chain_order",
        "the private key belongs to block 2 (CN=leaf), not to the first; put block 2 first",
    ),
    "weak_rsa": (alone(rsa_key(1024)), pem(rsa_key(1024)), "weak_key", "an RSA key of only 1024 bits"),
    "weak_ec": (alone(ec_key("x", ec.SECP224R1)), pem(ec_key("x", ec.SECP224R1)), "weak_key", "only 224 bits"),
    "strange_curve": (
        alone(ec_key("x", ec.BrainpoolP256R1)),
        pem(ec_key("x", ec.BrainpoolP256R1)),
        "key_unsupported",
        "a key on curve brainpoolP256r1",
    ),
    "ed25519": (alone(ed_key()), pem(ed_key()), "key_unsupported", "a key of kind Ed25519"),
    "ed25519_key": (CHAIN, pem(ed_key()), "key_unsupported", "is of another kind"),
    "sha1": (
        pem(signed_with_sha1(certificate("leaf", KEY, ("root", rsa_key()), names=("x",)))),
        pem(KEY),
        "weak_signature",
        "the certificate is signed with SHA1",
    ),
    "no_names": (pem(certificate("", KEY)), pem(KEY), "no_names", "is for no host name"),
}


@pytest.mark.parametrize(("chain", "key", "key_type"), SERVED.values(), ids=SERVED)
def test_served(tmp_path: Path, chain: bytes, key: object, key_type: str) -> None:
    server = load_server_certificate(chain, pem(key), now=NOW)
    assert (server.key_type, server.warnings) == (key_type, ())
    assert server.chain_pem == chain
    # OpenSSL takes what was made of it.
    file = tmp_path / "both.pem"
    file.write_bytes(server.chain_pem + server.private_key_pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


@pytest.mark.parametrize(("chain", "key", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(chain: bytes, key: bytes, code: str, text: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        load_server_certificate(chain, key, now=NOW)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_names_and_end() -> None:
    server = load_server_certificate(CHAIN, pem(KEY), now=NOW)
    assert server.names == ("shop.example", "*.shop.example", "10.0.0.5", "fd00::5")
    assert server.not_after == NOW + timedelta(days=90)


def test_the_common_name_counts_only_without_other_names() -> None:
    server = load_server_certificate(pem(certificate("Old.example", KEY)), pem(KEY), now=NOW)
    assert server.names == ("old.example",)


DATES = {
    "good": (0, ()),
    "soon": (61, ("expires_soon",)),
    "expired": (91, ("expired",)),
    "early": (-11, ("not_yet_valid",)),
}


@pytest.mark.parametrize(("days", "codes"), DATES.values(), ids=DATES)
def test_dates_are_warned_of(days: int, codes: tuple[str, ...]) -> None:
    server = load_server_certificate(alone(KEY), pem(KEY), now=NOW + timedelta(days=days))
    assert tuple(remark.code for remark in server.warnings) == codes


def test_an_expired_intermediate_is_warned_of_by_name() -> None:
    old = certificate("intermediate", INTERMEDIATE[1], ROOT, ca=True, ends=NOW - timedelta(days=1))
    (remark,) = load_server_certificate(pem(LEAF, old), pem(KEY), now=NOW).warnings
    assert str(remark) == "block 2 (CN=intermediate) expired on 2026-05-31; replace it"


def test_the_key_never_shows() -> None:
    server = load_server_certificate(CHAIN, pem(KEY))
    assert "PRIVATE" not in repr(server)
    assert "BEGIN" not in repr(server)


def test_digests_tell_what_belongs_together() -> None:
    assert leaf_digest(CHAIN) == private_key_digest(pem(KEY))
    assert leaf_digest(CHAIN) != private_key_digest(pem(ec_key("other")))
    assert [leaf_digest(b""), private_key_digest(b""), leaf_digest(alone(dsa_key()))] == [None] * 3
