import ssl

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tls_lab import VERSIONS, Authority, Issued, client_context, client_hello, connect, ec_key, feed, rsa_key

from clb.tls.contexts import ContextFault, Identity, ListenerContexts, bare_context, try_identities
from clb.tls.policy import POLICIES

ROOT = Authority(key=rsa_key(2048, 1))
RSA = ROOT.issue("rsa", key=rsa_key())
ECDSA = ROOT.issue("ecdsa", key=ec_key())
OTHER = ROOT.issue("other", key=ec_key())
WILDCARD = ROOT.issue("wildcard", key=ec_key())
DOCUMENTED = POLICIES["documented"]
CRL = ROOT.revocation_list()

ONLY_RSA, ONLY_ECDSA = "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"


def sni_listener(policy=DOCUMENTED) -> ListenerContexts:
    return ListenerContexts(
        policy,
        [
            RSA.identity("shop.example.com", "www.example.com"),
            ECDSA.identity("Shop.example.com"),
            OTHER.identity("api.example.com"),
            WILDCARD.identity("*.example.com"),
        ],
    )


def served(contexts: ListenerContexts, name: str | None, ciphers: str = "ALL:@SECLEVEL=0") -> bytes | None:
    outcome = connect(contexts, client_context("TLSv1.2", ciphers=ciphers), name)
    assert outcome.done, (outcome.server_error, outcome.client_error)
    return outcome.client.getpeercert(binary_form=True)


CHOICES = {
    "exact": ("api.example.com", OTHER, 0, 0),
    "upper_case": ("API.Example.COM", OTHER, 0, 0),
    "second_name": ("www.example.com", RSA, 0, 0),
    "wildcard": ("cdn.example.com", WILDCARD, 0, 0),
    "wildcard_is_one_label": ("a.b.example.com", RSA, 0, 1),
    "wildcard_is_not_the_parent": ("example.com", RSA, 0, 1),
    "no_match": ("nobody.invalid", RSA, 0, 1),
    "single_label": ("localhost", RSA, 0, 1),
    "no_name": (None, RSA, 1, 0),
}


@pytest.mark.parametrize(("name", "issued", "without_name", "unmatched"), CHOICES.values(), ids=CHOICES)
def test_choice_by_name(name, issued, without_name, unmatched):
    contexts = sni_listener()
    assert served(contexts, name) == issued.der
    assert (contexts.counts.without_name, contexts.counts.unmatched) == (without_name, unmatched)


def test_trailing_dot_is_the_same_name():
    contexts = sni_listener()
    assert contexts.choose("api.example.com.") is contexts.choose("api.example.com")


@pytest.mark.parametrize(("ciphers", "issued"), [(ONLY_RSA, RSA), (ONLY_ECDSA, ECDSA)], ids=["rsa", "ecdsa"])
@pytest.mark.parametrize("name", ["shop.example.com", None, "nobody.invalid"])
def test_both_key_types_of_a_name_are_served(name, ciphers, issued):
    assert served(sni_listener(), name, ciphers) == issued.der


def test_identities_for():
    contexts = sni_listener()
    assert [item.key_type for item in contexts.identities_for("shop.example.com")] == ["RSA", "ECDSA"]
    assert [item.key_type for item in contexts.identities_for("www.example.com")] == ["RSA"]
    assert contexts.identities_for(None) == contexts.identities_for("shop.example.com")


def test_first_of_a_key_type_wins():
    contexts = ListenerContexts(DOCUMENTED, [ECDSA.identity("a.example.com"), OTHER.identity("a.example.com")])
    assert served(contexts, "a.example.com") == ECDSA.der


def test_certificate_without_names_is_a_default():
    assert served(ListenerContexts(DOCUMENTED, [ECDSA.identity()]), "a.example.com") == ECDSA.der


SPEAKS = {
    "documented": {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"},
    "intermediate": {"TLSv1.2", "TLSv1.3"},
    "modern": {"TLSv1.3"},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("issued", [RSA, ECDSA], ids=["rsa", "ecdsa"])
@pytest.mark.parametrize("policy", SPEAKS)
def test_versions_of_a_policy(policy, issued, version):
    contexts = ListenerContexts(POLICIES[policy], [issued.identity("a.example.com")])
    outcome = connect(contexts, client_context(version), "a.example.com")
    assert outcome.done is (version in SPEAKS[policy])
    if outcome.done:
        assert (outcome.server.version(), outcome.served) == (version, b"x")
        assert outcome.server.compression() is None


def test_dhe_is_served_with_ffdhe2048():
    outcome = connect(sni_listener(), client_context("TLSv1.2", ciphers="DHE-RSA-AES128-GCM-SHA256"))
    assert outcome.server.cipher()[0] == "DHE-RSA-AES128-GCM-SHA256"


CLIENTS_ORDER = "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256"


@pytest.mark.parametrize(
    ("policy", "cipher"),
    [("documented", "ECDHE-RSA-AES128-GCM-SHA256"), ("intermediate", "ECDHE-RSA-CHACHA20-POLY1305")],
)
def test_whose_order_of_suites_counts(policy, cipher):
    outcome = connect(sni_listener(POLICIES[policy]), client_context("TLSv1.2", ciphers=CLIENTS_ORDER))
    assert outcome.server.cipher()[0] == cipher


def test_options():
    options = sni_listener().base.options
    assert options & ssl.OP_NO_RENEGOTIATION
    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_SSLv3


ALPN = {
    "http11": (["http/1.1"], "http/1.1"),
    "h2_first": (["h2", "http/1.1"], "http/1.1"),
    "h2_only_goes_on_without": (["h2"], None),
    "none": (None, None),
}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize(("offered", "chosen"), ALPN.values(), ids=ALPN)
def test_alpn(offered, chosen, version):
    outcome = connect(sni_listener(), client_context(version, alpn=offered), "api.example.com")
    assert outcome.done
    assert outcome.server.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("verify", ["off", "optional", "required"])
def test_sessions_resume_across_a_change_of_certificate(verify, version):
    trust = ROOT.pem if verify != "off" else None
    contexts = ListenerContexts(DOCUMENTED, [RSA.identity("a.example.com")], verify, trust)
    client = client_context(version, certificate=ROOT.issue("client"))
    first = connect(contexts, client, "a.example.com")
    contexts.replace([ECDSA.identity("a.example.com")])
    second = connect(contexts, client, "a.example.com", session=first.client.session)
    assert (first.server.session_reused, second.server.session_reused) == (False, True)
    if verify != "off":
        assert second.server.getpeercert(binary_form=True) == first.server.getpeercert(binary_form=True)


def test_tls13_sends_two_tickets():
    assert sni_listener().base.num_tickets == 2


def test_replace_keeps_the_contexts_of_what_did_not_change():
    contexts = sni_listener()
    api, shop = contexts.choose("api.example.com"), contexts.choose("shop.example.com")
    contexts.replace([ECDSA.identity("shop.example.com"), OTHER.identity("api.example.com")])
    assert contexts.choose("api.example.com") is api
    assert contexts.choose("shop.example.com") is not shop


def test_replace_with_a_bad_certificate_changes_nothing():
    contexts = sni_listener()
    bad = Identity(ECDSA.chain_pem, OTHER.identity().private_key_pem, ("api.example.com",), "ECDSA")
    with pytest.raises(ContextFault, match="private key is not") as raised:
        contexts.replace([RSA.identity("shop.example.com"), bad])
    assert (raised.value.part, raised.value.identity) == ("certificate", bad)
    assert served(contexts, "api.example.com") == OTHER.der


def test_made_before_its_certificates():
    contexts = ListenerContexts(DOCUMENTED)
    with pytest.raises(LookupError):
        contexts.choose(None)
    error = feed(contexts, client_hello())
    assert error is not None
    contexts.replace([RSA.identity("a.example.com")])
    assert served(contexts, "a.example.com") == RSA.der
    with pytest.raises(ValueError, match="needs a certificate"):
        contexts.replace([])


MANY = [Issued(ECDSA.certificate, ECDSA.key).identity(f"host-{number}.example.com") for number in range(1000)]


def test_a_thousand_certificates():
    contexts = ListenerContexts(DOCUMENTED, MANY)
    assert len({id(contexts.choose(identity.names[0])) for identity in MANY}) == 1000


def test_verification_needs_a_ca():
    with pytest.raises(ValueError, match="against a CA"):
        ListenerContexts(DOCUMENTED, [RSA.identity()], "required")


GARBAGE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
FAULTS = {
    "small_key": ("certificate", "too small", "intermediate", {"key": rsa_key(1024)}, ROOT.pem, None),
    "bad_ca": ("ca_certificate", "OpenSSL does not take it", "documented", {}, GARBAGE, None),
    "bad_crl": ("crl", "OpenSSL does not take it", "documented", {}, ROOT.pem, GARBAGE),
}


@pytest.mark.parametrize(("part", "text", "policy", "options", "ca", "crl"), FAULTS.values(), ids=FAULTS)
def test_faults_name_the_part(part, text, policy, options, ca, crl):
    identity = ROOT.issue("faulty", **options).identity("a.example.com")
    with pytest.raises(ContextFault, match=text) as raised:
        ListenerContexts(POLICIES[policy], [identity], "required", ca, crl)
    assert raised.value.part == part


def test_an_encrypted_key_is_an_error_and_not_a_question():
    encrypted = ECDSA.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(ContextFault, match="OpenSSL does not take it"):
        ListenerContexts(DOCUMENTED, [Identity(ECDSA.chain_pem, encrypted, (), "ECDSA")])


def test_documented_takes_small_keys():
    assert served(ListenerContexts(DOCUMENTED, [ROOT.issue(key=rsa_key(1024)).identity()]), None)


def test_repr_shows_no_key():
    assert "PRIVATE" not in repr(RSA.identity("a.example.com"))


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_bound_intermediate_is_the_anchor(version):
    issuing = Authority("Issuing", parent=ROOT)
    contexts = ListenerContexts(DOCUMENTED, [RSA.identity()], "required", issuing.pem)
    inside, outside = issuing.issue("inside"), ROOT.issue("outside")
    assert connect(contexts, client_context(version, Issued(inside.certificate, inside.key))).done
    assert connect(contexts, client_context(version, outside)).server_error is not None


# --- prepared aside, on a base that was made before ---


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_what_is_prepared_is_not_served_yet():
    contexts = ListenerContexts(DOCUMENTED, [RSA.identity("a.example.com")])
    steps = contexts.prepare([ECDSA.identity("a.example.com"), RSA.identity("b.example.com")])
    next(steps)
    assert served(contexts, "a.example.com") == RSA.der
    prepared = finish(steps)
    assert served(contexts, "a.example.com") == RSA.der
    contexts.install(prepared)
    assert served(contexts, "a.example.com") == ECDSA.der
    assert served(contexts, "b.example.com") == RSA.der


def test_each_new_certificate_is_a_step_and_a_known_one_none():
    contexts = ListenerContexts(DOCUMENTED, [RSA.identity("a.example.com")])
    identities = [RSA.identity("a.example.com"), *(ECDSA.identity(f"{name}.example.com") for name in "bcd")]
    assert len(list(contexts.prepare(identities))) == 3


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_listeners_on_forks_of_one_base_resume_each_other(version):
    base = bare_context()
    first = ListenerContexts(DOCUMENTED, [RSA.identity("a.example.com")], base=base)
    client = client_context(version)
    session = connect(first, client, "a.example.com").client.session
    second = ListenerContexts(DOCUMENTED, [ECDSA.identity("a.example.com")], base=base)
    assert second.base is base
    assert connect(second, client, "a.example.com", session=session).server.session_reused


def test_a_base_that_was_set_up_for_something_else_keeps_nothing_of_it():
    base = bare_context()
    ListenerContexts(POLICIES["modern"], [RSA.identity("a.example.com")], "required", ROOT.pem, CRL, base)
    contexts = ListenerContexts(DOCUMENTED, [ECDSA.identity("a.example.com")], base=base)
    fresh = ListenerContexts(DOCUMENTED, [ECDSA.identity("a.example.com")])
    for name in ("verify_mode", "verify_flags", "options", "minimum_version", "maximum_version", "num_tickets"):
        assert getattr(base, name) == getattr(fresh.base, name), name
    assert base.get_ciphers() == fresh.base.get_ciphers()
    assert served(contexts, "a.example.com") == ECDSA.der


SAME = {
    "same": (DOCUMENTED, "required", ROOT.pem, CRL, True),
    "policy": (POLICIES["modern"], "required", ROOT.pem, CRL, False),
    "mode": (DOCUMENTED, "optional", ROOT.pem, CRL, False),
    "ca": (DOCUMENTED, "required", b"another", CRL, False),
    "crl": (DOCUMENTED, "required", ROOT.pem, None, False),
    "off": (DOCUMENTED, "off", ROOT.pem, CRL, False),
}


@pytest.mark.parametrize(("policy", "verify", "ca", "crl", "same"), SAME.values(), ids=SAME)
def test_what_makes_a_base_another(policy, verify, ca, crl, same):
    contexts = ListenerContexts(DOCUMENTED, [RSA.identity("a.example.com")], "required", ROOT.pem, CRL)
    assert contexts.is_for(policy, verify, ca, crl) is same


def test_what_is_not_used_makes_no_difference():
    contexts = ListenerContexts(DOCUMENTED, [RSA.identity("a.example.com")], "off", ROOT.pem)
    assert contexts.is_for(DOCUMENTED, "off", None, CRL)


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_what_was_tried_is_built_by_the_first_client_who_needs_it(monkeypatch):
    built = []
    build = ListenerContexts._build_context
    monkeypatch.setattr(ListenerContexts, "_build_context", lambda *args: built.append(args[1]) or build(*args))
    contexts = ListenerContexts(DOCUMENTED)
    identities = [RSA.identity("rsa.example.com"), ECDSA.identity("ecdsa.example.com"), OTHER.identity("x.example.com")]
    contexts.install(finished(contexts.prepare(identities, are_tried=True)))
    assert built == [(identities[0],)]
    for _ in range(2):
        assert served(contexts, "ecdsa.example.com") == ECDSA.der
    assert built == [(identities[0],), (identities[1],)]


def test_certificates_are_tried_without_a_context_for_each():
    weak = ROOT.issue("weak", key=rsa_key(1024, 7)).identity("weak.example.com")
    good = RSA.identity("good.example.com")
    assert [fault.identity for fault in try_identities(POLICIES["modern"], [good, weak, good])] == [weak]
    assert list(try_identities(POLICIES["modern"], [good])) == []
