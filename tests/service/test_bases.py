"""Base contexts: which listener has which, and that sessions resume in every process that was forked behind them."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress

import pytest
from tls_lab import Authority, client_context, ec_key

from clb.service.bases import SPARES, Bases
from clb.tls.contexts import ListenerContexts
from clb.tls.policy import POLICIES

ROOT = Authority()
CERTIFICATE = ROOT.issue("server", key=ec_key())
OTHER_CERTIFICATE = ROOT.issue("other", key=ec_key())


def places(assigned):
    return {key: place for key, (place, _) in assigned.items()}


def test_a_listener_keeps_its_base_while_its_fingerprint_stays():
    bases = Bases()
    first = bases.assign({"a": "x", "b": "x"})
    bases.grow(first)
    bases.take(first)
    assert places(first) == {"a": 0, "b": 1}
    second = bases.assign({"b": "x", "a": "y", "c": "x"})
    assert places(second) == {"b": 1, "a": 2, "c": 3}


def test_what_is_not_taken_is_given_out_again():
    bases = Bases()
    bases.take(bases.assign({"a": "x"}))
    assert places(bases.assign({"a": "y"})) == places(bases.assign({"a": "z"})) == {"a": 1}


def test_a_base_never_belongs_to_another_listener():
    bases = Bases()
    bases.take(bases.assign({"a": "x"}))
    bases.take(bases.assign({}))
    assert places(bases.assign({"a": "x"})) == {"a": 1}


def test_the_pool_has_spares_and_grows_without_losing_any():
    bases = Bases()
    assigned = bases.assign({"a": "x"})
    assert bases.missing(assigned)
    bases.grow(assigned)
    bases.take(assigned)
    before = list(bases.contexts)
    assert len(before) == 1 + SPARES
    last = bases.assign({f"l{number}": "x" for number in range(SPARES)})
    assert not bases.missing(last)
    too_many = bases.assign({f"l{number}": "x" for number in range(SPARES + 1)})
    assert bases.missing(too_many)
    bases.grow(too_many)
    assert bases.contexts[: len(before)] == before
    assert not bases.missing(too_many)


@pytest.fixture
def workers():
    """Two children that set the same base up by themselves, each with a certificate of its own, and serve on it."""
    bases = Bases()
    assigned = bases.assign({"a": "x"})
    bases.grow(assigned)
    ports, children = [], []
    for certificate in (CERTIFICATE, OTHER_CERTIFICATE):
        listener = socket.create_server(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])
        if (pid := os.fork()) == 0:
            serve(listener, bases.contexts[assigned["a"][0]], certificate)
        listener.close()
        children.append(pid)
    yield ports
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def serve(listener, base, certificate):
    try:
        contexts = ListenerContexts(POLICIES["documented"], [certificate.identity("a.example.com")], base=base)
        while True:
            accepted, _ = listener.accept()
            with suppress(OSError), contexts.base.wrap_socket(accepted, server_side=True) as client:
                client.sendall(b"x")
    finally:
        os._exit(1)


def visit(port, context, session=None):
    """Whether the session was resumed, and one to be resumed later."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as sock,
        context.wrap_socket(sock, server_hostname="a.example.com", session=session) as client,
    ):
        assert client.recv(1) == b"x"  # Behind it is the ticket of TLS 1.3.
        return client.session_reused, client.session


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tickets_resume_in_every_worker(workers, version):
    context = client_context(version)
    reused, session = visit(workers[0], context)
    assert not reused
    for port in (workers[1], workers[0], workers[1]):
        reused, session = visit(port, context, session)
        assert reused
    assert isinstance(session, ssl.SSLSession)
