"""Rehearsals: what a swap would break is named by client and listener, and what it would not is let pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
from certificate_lab import certificate, ec_key, pem, revocation_list, rsa_key
from cryptography.hazmat.primitives.asymmetric import ec

from clb.certificates.rehearsal import PROFILES, Breakage, Stage, rehearse
from clb.certificates.stand_ins import server_stand_in
from clb.tls.contexts import Identity

NAMES = ("shop.example", "*.shop.example")
OTHER = ("other.example",)


def identity(key, names=NAMES, key_type="RSA"):
    return Identity(pem(certificate("x", key, names=names)), pem(key), names, key_type)


RSA = identity(rsa_key())
RENEWED = identity(rsa_key(3072))
ECDSA = identity(ec_key("leaf"), key_type="ECDSA")
P384 = identity(ec_key("leaf", ec.SECP384R1), key_type="ECDSA")
WEAK = identity(rsa_key(1024))


def run(*stages) -> tuple[Breakage, ...]:
    steps = rehearse(stages)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def clients(breakages):
    return [each.client.removeprefix("clients with ") for each in breakages]


def swap(before, after, policy="documented", verify="off", **more):
    return run(Stage("shop/https", policy, verify, before, after, **more))


ALL_RSA = [profile.name for profile in PROFILES if "RSA suites" in profile.name]
ALL_ECDSA = [profile.name for profile in PROFILES if "ECDSA suites" in profile.name]
SWAPS = {
    "nothing": ((RSA,), (RSA,), "documented", []),
    "renewed": ((RSA,), (RENEWED,), "documented", []),
    "rsa_to_ecdsa": ((RSA,), (ECDSA,), "documented", ALL_RSA),
    "rsa_to_ecdsa_intermediate": ((RSA,), (ECDSA,), "intermediate", ["TLS 1.2 with RSA suites"]),
    "rsa_to_ecdsa_modern": ((RSA,), (ECDSA,), "modern", []),
    "ecdsa_to_rsa": ((ECDSA,), (RSA,), "documented", ALL_ECDSA),
    "larger_curve": ((ECDSA,), (P384,), "intermediate", ["TLS 1.2 with ECDSA suites on P-256 only"]),
    "beside_an_rsa": ((RSA, ECDSA), (RENEWED, ECDSA), "documented", []),
    "one_of_a_pair": ((RSA, ECDSA), (RSA, P384), "documented", ["TLS 1.2 with ECDSA suites on P-256 only"]),
    "nothing_works_today": (None, (ECDSA,), "documented", []),
    "refused_by_the_policy": ((RSA,), (WEAK,), "intermediate", ["every client"]),
}


@pytest.mark.parametrize("verify", ["off", "optional", "required"])
@pytest.mark.parametrize(("before", "after", "policy", "broken"), SWAPS.values(), ids=SWAPS)
def test_swaps(before, after, policy, broken, verify):
    assert clients(swap(before, after, policy, verify)) == broken


@pytest.mark.parametrize("verify", ["off", "required"])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name.replace(" ", "_"))
def test_each_profile_is_served_by_some_certificate(profile, verify):
    """Else its rehearsals would prove nothing: what never works cannot break."""
    good = RSA if "RSA" in profile.name.replace("ECDSA", "") else ECDSA
    if profile.name == "TLS 1.3":
        pytest.skip("either certificate serves it, so no swap can break it; see the next test")
    bad = ECDSA if good is RSA else RSA
    assert profile.name in clients(swap((good,), (bad,), verify=verify))


@pytest.mark.parametrize("verify", ["off", "required"])
def test_tls13_is_played(verify, monkeypatch):
    from clb.certificates import rehearsal

    played = []
    real = rehearsal.shake_hands
    monkeypatch.setattr(rehearsal, "shake_hands", lambda *given: played.append(real(*given)) or played[-1])
    swap((RSA,), (RENEWED,), policy="modern", verify=verify)
    assert [outcome.version for outcome in played if hasattr(outcome, "version")] == ["TLSv1.3", "TLSv1.3"]


def test_a_companion_without_its_key_is_stood_in_for():
    companion = server_stand_in(NAMES, "RSA")
    assert swap((companion, ECDSA), (companion, P384))[0].client.endswith("P-256 only")
    assert swap((companion, ECDSA), (companion, identity(ec_key("new"), key_type="ECDSA"))) == ()


def test_a_later_certificate_of_a_listener_is_the_one_that_is_played():
    first = identity(rsa_key(), OTHER)
    assert clients(swap((first, RSA), (first, ECDSA))) == ALL_RSA


def test_the_listener_is_named_and_like_ones_are_played_once(monkeypatch):
    from clb.certificates import rehearsal

    played = []
    real = rehearsal.shake_hands
    monkeypatch.setattr(rehearsal, "shake_hands", lambda *given: played.append(1) or real(*given))
    stage = Stage("shop/https", "intermediate", "off", (RSA,), (ECDSA,))
    found = run(stage, replace(stage, listener="api/https"))
    assert [each.listener for each in found] == ["shop/https", "api/https"]
    assert str(found[1]) == (
        "listener api/https: clients with TLS 1.2 with RSA suites: "
        "no suite that both sides want and a bound certificate can serve"
    )
    assert len(played) == len(PROFILES) + len([each for each in PROFILES if each.name in ("TLS 1.3", *ALL_RSA[2:3])])


LOST = {
    "all_kept": (NAMES, ["shop.example", "a.shop.example", "*.shop.example"], None),
    "one_lost": (("shop.example",), ["shop.example", "a.shop.example"], "a.shop.example"),
    "wildcard_lost": (("shop.example",), ["*.shop.example"], "*.shop.example"),
    "never_covered": (("shop.example",), ["else.example"], None),
    "patterns": (OTHER, ["~^shop", "shop.*"], None),
    "all_lost": (OTHER, ["shop.example", "a.shop.example", "b.shop.example", "c.shop.example"], "and 1 more"),
}


@pytest.mark.parametrize(("names", "domains", "text"), LOST.values(), ids=LOST)
def test_names_that_rules_use(names, domains, text):
    found = swap((RSA,), (identity(rsa_key(), names),), domains=tuple(domains))
    assert [text in each.client for each in found] == ([] if text is None else [True])


def test_a_name_may_move_to_another_certificate_of_the_listener():
    other = identity(rsa_key(), OTHER)
    moved = identity(rsa_key(), ("shop.example", *OTHER))
    narrowed = identity(rsa_key(), ("*.shop.example",))
    assert swap((RSA, other), (narrowed, moved), domains=("shop.example", "a.shop.example")) == ()


# --- CAs ---

FIRST = certificate("first", ec_key("first"), ca=True)
FIRST_RENEWED = certificate("first", ec_key("first"), ca=True)
SECOND = certificate("second", ec_key("second"), ca=True)
FIRST_OTHER_KEY = certificate("first", ec_key("other"), ca=True)
AUTHORITIES = {
    "renewed": (pem(FIRST), pem(FIRST_RENEWED), []),
    "added": (pem(FIRST), pem(FIRST, SECOND), []),
    "removed": (pem(FIRST, SECOND), pem(SECOND), ["clients with a certificate by CN=first"]),
    "other_key": (pem(FIRST), pem(FIRST_OTHER_KEY), ["clients with a certificate by CN=first"]),
    "unreadable_before": (b"", pem(FIRST), []),
}


@pytest.mark.parametrize(("before", "after", "found"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_clients_of_a_ca(before, after, found):
    made = swap((RSA,), (RSA,), verify="required", authority_before=before, authority_after=after)
    assert [each.client for each in made] == found


def test_a_revocation_list_that_does_not_fit_the_new_ca():
    lists = pem(revocation_list("first", ec_key("first")))
    keys = {"verify": "required", "authority_before": pem(FIRST), "revocations": lists}
    assert swap((RSA,), (RSA,), authority_after=pem(FIRST_RENEWED), **keys) == ()
    assert (
        "there is no revocation list of CN=second"
        in swap((RSA,), (RSA,), authority_after=pem(FIRST, SECOND), **keys)[0].why
    )
    assert "bad_crl" in swap((RSA,), (RSA,), authority_after=pem(SECOND), **keys)[1].why
