import gc
import ssl
import sys

import pytest
from tls_lab import Authority, client_hello, feed

from clb.tls.contexts import ListenerContexts
from clb.tls.failures import handshake_failure_reason
from clb.tls.policy import POLICIES
from clb.tls.sni_errors import SNI_REASONS, install_sni_error_hook

HELLO = client_hello()


@pytest.fixture
def counted(monkeypatch):
    """The words that were counted, and what went on to the hook before."""
    words, passed_on = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: passed_on.append(unraisable.exc_type))
    install_sni_error_hook(words.append)
    return words, passed_on


def listener() -> ListenerContexts:
    return ListenerContexts(POLICIES["documented"], [Authority().issue().identity("a.example.com")])


def refuse(contexts: ListenerContexts, hello: bytes) -> str:
    error = feed(contexts, hello)
    assert isinstance(error, ssl.SSLError)
    return handshake_failure_reason(error)


def test_name_that_is_not_ascii(counted):
    assert refuse(listener(), HELLO.replace(b"a.example", b"\xc3\xa9example")) == "sni_refused"
    assert counted == (["sni_not_ascii"], [])


def test_callback_that_fails(counted):
    contexts = listener()
    contexts._table = None
    assert refuse(contexts, HELLO) == "sni_refused"
    assert counted == (["sni_callback_failed"], [])


def test_everything_else_goes_on(counted):
    class Broken:
        def __del__(self):
            raise ZeroDivisionError

    Broken()
    gc.collect()
    assert counted == ([], [ZeroDivisionError])


def test_words():
    assert {"sni_not_ascii", "sni_callback_failed"} == SNI_REASONS
