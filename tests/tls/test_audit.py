from collections import Counter

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tls_lab import Authority, ec_key, rsa_key

from clb.tls.audit import NOT_NEGOTIATED, audit, documented_suites
from clb.tls.contexts import ListenerContexts
from clb.tls.failures import REASONS
from clb.tls.policy import POLICIES

ROOT = Authority(key=rsa_key(2048, 1))
RSA = ROOT.issue("rsa", key=rsa_key()).identity("a.example.com", "rsa.example.com")
ECDSA = ROOT.issue("ecdsa", key=ec_key()).identity("a.example.com")
TLS13 = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
ALL_VERSIONS = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]

# case: (policy, certificates, versions, suites up to 1.2, reasons for the rest)
CASES = {
    "documented_both": (
        "documented",
        [RSA, ECDSA],
        ALL_VERSIONS,
        59,
        {"needs_dsa_certificate": 12, "needs_srp": 6},
    ),
    "documented_rsa": (
        "documented",
        [RSA],
        ALL_VERSIONS,
        44,  # 27 and the 17 of DHE, which ffdhe2048 adds
        {"needs_dsa_certificate": 12, "needs_srp": 6, "needs_ecdsa_certificate": 15},
    ),
    "documented_ecdsa": (
        "documented",
        [ECDSA],
        ALL_VERSIONS,
        15,
        {"needs_dsa_certificate": 12, "needs_srp": 6, "needs_rsa_certificate": 44},
    ),
    "intermediate_both": ("intermediate", [RSA, ECDSA], ALL_VERSIONS[2:], 9, {"not_in_policy": 68}),
    "intermediate_ecdsa": (
        "intermediate",
        [ECDSA],
        ALL_VERSIONS[2:],
        3,
        {"not_in_policy": 68, "needs_rsa_certificate": 6},
    ),
    "modern_rsa": ("modern", [RSA], ALL_VERSIONS[3:], 0, {"version_excluded": 77}),
}


@pytest.mark.parametrize(("policy", "identities", "versions", "count", "reasons"), CASES.values(), ids=CASES)
def test_what_negotiates_and_why_not(policy, identities, versions, count, reasons):
    report = audit(ListenerContexts(POLICIES[policy], identities))
    assert report.policy == policy
    assert report.key_types == tuple(identity.key_type for identity in identities)
    assert [trial.name for trial in report.versions if trial.negotiated] == versions
    assert {trial.reason for trial in report.versions} == {None, "unsupported_version"} - (
        set() if len(versions) < 4 else {"unsupported_version"}
    )
    old = [trial for trial in report.suites if trial.name not in TLS13]
    assert len(old) == 77
    assert [trial.negotiated for trial in old if trial.negotiated] == ["TLSv1.2"] * count
    assert Counter(trial.reason for trial in old if not trial.negotiated) == reasons
    assert {trial.name: trial.negotiated for trial in report.suites if trial.name in TLS13} == dict.fromkeys(
        TLS13, "TLSv1.3"
    )


def test_reason_of_the_handshake_itself():
    # No client of today has a group for P-224, so its certificate is bound and never served.
    small = ROOT.issue("small", key=ec_key(ec.SECP224R1)).identity("a.example.com")
    report = audit(ListenerContexts(POLICIES["documented"], [small]))
    assert {trial.negotiated for trial in report.suites} == {None}
    assert {"no_shared_cipher", "no_shared_signature_algorithm"} < {trial.reason for trial in report.suites}


def test_explanations():
    report = audit(ListenerContexts(POLICIES["intermediate"], [RSA]))
    texts = {trial.reason: trial.explanation for trial in (*report.versions, *report.suites)}
    assert texts == {
        None: "",
        "unsupported_version": REASONS["unsupported_version"],
        "not_in_policy": NOT_NEGOTIATED["not_in_policy"],
        "needs_ecdsa_certificate": NOT_NEGOTIATED["needs_ecdsa_certificate"],
    }


def test_certificate_of_a_name():
    contexts = ListenerContexts(POLICIES["documented"], [ECDSA, RSA])
    assert audit(contexts, "rsa.example.com").key_types == ("RSA",)
    assert audit(contexts).key_types == ("ECDSA", "RSA")


def test_client_certificates_are_left_out():
    contexts = ListenerContexts(POLICIES["modern"], [RSA], "required", ROOT.pem)
    assert audit(contexts).versions[-1].negotiated in TLS13


def test_reasons_have_one_meaning():
    assert not REASONS.keys() & NOT_NEGOTIATED.keys()


def test_the_documented_string_has_80_suites():
    assert len({cipher["name"] for cipher in documented_suites()}) == 80
