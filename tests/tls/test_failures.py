import ssl

import pytest
from tls_lab import (
    DAY,
    NOW,
    SERVER_ONLY,
    Authority,
    Issued,
    client_context,
    client_hello,
    connect,
    ec_key,
    feed,
    rsa_key,
    with_old_digest,
)

from clb.tls.contexts import ListenerContexts
from clb.tls.failures import REASONS, handshake_failure_reason
from clb.tls.policy import POLICIES

ROOT = Authority(key=rsa_key(2048, 1))
SAME_NAME = Authority(key=rsa_key(2048, 2))  # another CA that calls itself by the same name
STRANGER = Authority("Stranger")
ISSUING = Authority("Issuing", parent=ROOT)
WEAK_CA = Authority("Weak", parent=ROOT, key=rsa_key(1024))
SERVER = ROOT.issue("server", key=rsa_key()).identity("a.example.com")
DOCUMENTED, INTERMEDIATE, MODERN = POLICIES.values()

GOOD, REVOKED = ROOT.issue("good"), ROOT.issue("revoked")
PLAIN_LEAF = ROOT.issue("no CA")
PAST = {"start": NOW - 3 * DAY, "end": NOW - DAY}
FUTURE = {"start": NOW + DAY, "end": NOW + 3 * DAY}
SELF_KEY = ec_key()


def reason(error: ssl.SSLError | None, first_bytes: bytes = b"") -> str:
    assert error is not None, "the handshake succeeded"
    word = handshake_failure_reason(error, first_bytes)
    assert word in REASONS
    return word


def without_intermediate() -> Issued:
    issued = ISSUING.issue()
    return Issued(issued.certificate, issued.key)


def issued_by_no_ca() -> Issued:
    fake = Authority("no CA", key=PLAIN_LEAF.key)
    issued = fake.issue()
    return Issued(issued.certificate, issued.key, [PLAIN_LEAF.certificate])


def behind_a_foreign_root() -> Issued:
    issued = STRANGER.issue()
    return Issued(issued.certificate, issued.key, [STRANGER.certificate])


# case: (reason, what the client presents, CRL, policy)
REFUSED_CLIENTS = {
    "no_certificate": ("no_certificate", None, None, DOCUMENTED),
    "unknown_ca": ("unknown_ca", STRANGER.issue(), None, DOCUMENTED),
    "missing_intermediate": ("unknown_ca", without_intermediate(), None, DOCUMENTED),
    "self_signed": (
        "self_signed",
        Issued(Authority("self", key=SELF_KEY).certificate, SELF_KEY),
        None,
        DOCUMENTED,
    ),
    "foreign_root_sent_along": ("self_signed", behind_a_foreign_root(), None, DOCUMENTED),
    "expired": ("expired", ROOT.issue(**PAST), None, DOCUMENTED),
    "not_yet_valid": ("not_yet_valid", ROOT.issue(**FUTURE), None, DOCUMENTED),
    "revoked": ("revoked", REVOKED, ROOT.revocation_list(REVOKED), DOCUMENTED),
    "crl_expired": ("crl_expired", GOOD, ROOT.revocation_list(REVOKED, **PAST), DOCUMENTED),
    "crl_not_yet_valid": ("crl_not_yet_valid", GOOD, ROOT.revocation_list(REVOKED, **FUTURE), DOCUMENTED),
    "crl_of_another_ca": ("crl_missing", GOOD, STRANGER.revocation_list(), DOCUMENTED),
    "crl_signed_by_another": ("crl_bad_signature", GOOD, SAME_NAME.revocation_list(), DOCUMENTED),
    "signed_by_another": ("bad_signature", SAME_NAME.issue(), None, DOCUMENTED),
    "issued_by_no_ca": ("invalid_ca", issued_by_no_ca(), None, DOCUMENTED),
    "server_certificate": ("wrong_purpose", ROOT.issue(usage=SERVER_ONLY), None, DOCUMENTED),
    "weak_key": ("weak_key", ROOT.issue(key=rsa_key(1024)), None, INTERMEDIATE),
    "weak_ca_key": ("weak_key", WEAK_CA.issue(), None, INTERMEDIATE),
    "sha1": ("weak_signature", with_old_digest(ROOT.issue(), ROOT.key, "sha1"), None, INTERMEDIATE),
}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize(("word", "client", "crl", "policy"), REFUSED_CLIENTS.values(), ids=REFUSED_CLIENTS)
def test_client_certificates(word, client, crl, policy, version):
    contexts = ListenerContexts(policy, [SERVER], "required", ROOT.pem, crl)
    assert reason(connect(contexts, client_context(version, client)).server_error) == word


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_optional_still_refuses_a_bad_certificate(version):
    contexts = ListenerContexts(DOCUMENTED, [SERVER], "optional", ROOT.pem)
    assert connect(contexts, client_context(version)).done
    outcome = connect(contexts, client_context(version, STRANGER.issue()))
    assert reason(outcome.server_error) == "unknown_ca"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_crl_lets_the_others_in(version):
    contexts = ListenerContexts(DOCUMENTED, [SERVER], "required", ROOT.pem, ROOT.revocation_list(REVOKED))
    assert connect(contexts, client_context(version, GOOD)).done


LISTENER = ListenerContexts(DOCUMENTED, [SERVER])


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_client_refuses_our_certificate(version):
    outcome = connect(LISTENER, client_context(version, trust=STRANGER.pem))
    assert reason(outcome.server_error) == "client_refused_certificate"


@pytest.mark.parametrize(
    ("policy", "version"), [(INTERMEDIATE, "TLSv1"), (INTERMEDIATE, "TLSv1.1"), (MODERN, "TLSv1.2")]
)
def test_unsupported_version(policy, version):
    outcome = connect(ListenerContexts(policy, [SERVER]), client_context(version))
    assert reason(outcome.server_error) == "unsupported_version"


def test_no_shared_cipher():
    outcome = connect(LISTENER, client_context("TLSv1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))
    assert reason(outcome.server_error) == "no_shared_cipher"


HELLO = client_hello()
HELLO12 = client_hello(version="TLSv1.2")
OLD_HELLO = client_hello(version="TLSv1.1")
V2_PROXY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)


def with_list(hello: bytes, extension: int, item: bytes) -> bytes:
    """The hello with every entry of one extension's list replaced by `item`."""
    at = 5 + 4 + 2 + 32  # record and message headers, version, random
    at += 1 + hello[at]  # session id
    at += 2 + int.from_bytes(hello[at : at + 2])  # suites
    at += 1 + hello[at] + 2  # compression, length of the extensions
    while int.from_bytes(hello[at : at + 2]) != extension:
        at += 4 + int.from_bytes(hello[at + 2 : at + 4])
    size = int.from_bytes(hello[at + 2 : at + 4]) - 2
    return hello[: at + 6] + item * (size // 2) + hello[at + 6 + size :]


SIGNATURE_ALGORITHMS, GROUPS, X25519_SHARE = 13, 10, bytes.fromhex("001d0020")
ED25519_ONLY = with_list(HELLO, SIGNATURE_ALGORITHMS, bytes.fromhex("0807"))
UNKNOWN_GROUP = with_list(HELLO, GROUPS, b"\x0a\x0a").replace(X25519_SHARE, bytes.fromhex("0a0a0020"))

# case: (reason with the first bytes, reason without them, what a client sends first)
FIRST_BYTES = {
    "get": ("plain_http", "plain_http", b"GET / HTTP/1.1\r\n\r\n"),
    "post": ("plain_http", "plain_http", b"POST /a HTTP/1.1\r\n\r\n"),
    "delete": ("plain_http", "not_tls", b"DELETE / HTTP/1.1\r\n\r\n"),
    "options": ("plain_http", "not_tls", b"OPTIONS * HTTP/1.1\r\n\r\n"),
    "connect": ("plain_http", "plain_http", b"CONNECT a.example.com:443 HTTP/1.1\r\n\r\n"),
    "h2_preface": ("plain_http", "not_tls", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "absolute_form": ("plain_http", "not_tls", b"PATCH http://a/ HTTP/1.1\r\n\r\n"),
    "proxy_v1": ("proxy_header", "not_tls", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    "proxy_v2": ("proxy_header", "not_tls", V2_PROXY),
    "proxy_then_tls": ("proxy_header", "not_tls", V2_PROXY + HELLO),
    "ssh": ("not_tls", "not_tls", b"SSH-2.0-OpenSSH_9.2\r\n"),
    "zeros": ("not_tls", "not_tls", bytes(100)),
    "ones": ("not_tls", "not_tls", b"\xff" * 100),
    "rdp": ("not_tls", "not_tls", bytes.fromhex("030000130ee000000000000100080003000000")),
    "sslv3_record": ("not_tls", "not_tls", b"\x16\x02" + HELLO[2:]),
    "sslv2_hello": ("protocol_error", "protocol_error", b"\x80\x2e\1\0\2" + b"a" * 100),
    "oversized_record": ("bad_record", "bad_record", b"\x16\3\1\xff\xff" + b"a" * 70_000),
    "application_data": ("protocol_error", "protocol_error", b"\x17\3\3\0\5abcde"),
    "empty_hello": ("protocol_error", "protocol_error", b"\x16\3\1\0\5\1\0\0\1\0"),
    "mangled_hello": ("protocol_error", "protocol_error", HELLO[:60] + b"\xff" * (len(HELLO) - 60)),
    "alert": ("protocol_error", "protocol_error", b"\x15\3\1\0\2\2\x28"),
    "hello_twice": ("bad_record", "bad_record", HELLO + HELLO),
    "alert_after_hello_12": ("client_alert", "client_alert", HELLO12 + b"\x15\3\3\0\2\2\x28"),
    "alert_after_hello_13": ("client_alert", "client_alert", HELLO + b"\x15\3\3\0\2\2\x28"),
    "finished_out_of_turn": ("protocol_error", "protocol_error", HELLO12 + b"\x16\3\3\0\4\x14\0\0\0"),
    "version_change_in_the_middle": ("protocol_error", "not_tls", HELLO12 + b"\x16\2\3\0\4\x14\0\0\0"),
    "fallback": (
        "inappropriate_fallback",
        "inappropriate_fallback",
        OLD_HELLO.replace(b"\0\xff", b"\x56\0", 1),
    ),
    "no_group": ("no_shared_group", "no_shared_group", UNKNOWN_GROUP),
    "no_signature_algorithm": (
        "no_shared_signature_algorithm",
        "no_shared_signature_algorithm",
        ED25519_ONLY,
    ),
    "name_not_ascii": ("sni_refused", "sni_refused", HELLO.replace(b"a.example", b"\xff.example")),
    "name_with_nul": ("protocol_error", "protocol_error", HELLO.replace(b"a.example", b"a\0example")),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("word", "blind", "sent"), FIRST_BYTES.values(), ids=FIRST_BYTES)
def test_first_bytes(word, blind, sent):
    error = feed(LISTENER, sent)
    assert reason(error, sent[:16]) == word
    assert reason(error) == blind


@pytest.mark.parametrize("sent", [b"", HELLO[:50], HELLO12], ids=["nothing", "half_a_hello", "a_hello"])
def test_client_closes(sent):
    assert reason(feed(LISTENER, sent, end=True)) == "client_closed"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_record_that_does_not_decrypt(version):
    assert reason(connect(LISTENER, client_context(version), damage_last_flight=True).server_error) == "bad_record"


def test_words_are_explained():
    assert all(text and not text.endswith(".") for text in REASONS.values())
