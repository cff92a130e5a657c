import ssl

import pytest
from tls_lab import Authority, client_context, ec_key

from clb.tls import trial_handshake
from clb.tls.contexts import ListenerContexts
from clb.tls.policy import POLICIES
from clb.tls.trial_handshake import Negotiated, shake_hands, shake_hands_with_tls13_suite

ECDSA = ListenerContexts(POLICIES["documented"], [Authority().issue(key=ec_key()).identity("a.example.com")])
SUITES = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"])
def test_in_memory(version):
    outcome = shake_hands(ECDSA.base, client_context(version))
    assert isinstance(outcome, Negotiated)
    assert outcome.version == version


def test_servers_error():
    outcome = shake_hands(ECDSA.base, client_context("TLSv1.2", ciphers="AES128-SHA"))
    assert isinstance(outcome, ssl.SSLError)
    assert outcome.reason == "NO_SHARED_CIPHER"


def test_client_that_cannot_begin():
    outcome = shake_hands(ECDSA.base, client_context("TLSv1.2", ciphers="SRP-RSA-AES-128-CBC-SHA"))
    assert isinstance(outcome, ssl.SSLError)


@pytest.mark.parametrize("suite", SUITES)
def test_one_suite_of_tls13(suite):
    assert shake_hands_with_tls13_suite(ECDSA.base, suite) == Negotiated("TLSv1.3", suite)


def test_client_process_that_fails():
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    outcome = shake_hands_with_tls13_suite(server, SUITES[0])
    assert isinstance(outcome, ssl.SSLError)
    assert outcome.reason == "UNSUPPORTED_PROTOCOL"


def test_client_process_that_does_not_start(monkeypatch, tmp_path):
    monkeypatch.setattr(trial_handshake, "_SUITE_CLIENT", tmp_path / "absent.py")
    outcome = shake_hands_with_tls13_suite(ECDSA.base, SUITES[0])
    # Which of the two it is depends on Python's patch version.
    assert isinstance(outcome, ssl.SSLEOFError | ssl.SSLZeroReturnError)
