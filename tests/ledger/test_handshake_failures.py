"""A handshake that fails is all handshake, and is counted by its reason."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
from ledger_checks import assert_adds_up
from ledger_client import Client
from ledger_lab import Lab
from tls_lab import client_context, client_hello

from clb.metering.counters import Traffic

RAW = {  # case: (what the client sends, reason)
    "plain_http": (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "plain_http"),
    "plain_http_and_more": (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n123456789" * 50,
        "plain_http",
    ),
    "noise": (b"\x00\x01\x02\x03" * 10, "not_tls"),
    "nothing": (b"", "client_closed"),
    "half_a_hello": (client_hello()[:100], "client_closed"),
    "hello_then_gone": (client_hello(), "client_closed"),
    "hello_then_alert": (client_hello() + b"\x15\x03\x03\x00\x02\x02\x28", "client_alert"),
}


@pytest.mark.parametrize("slice_size", [1, 10_000])
@pytest.mark.parametrize(("sent", "reason"), RAW.values(), ids=RAW)
def test_what_is_no_handshake(lab: Lab, sent: bytes, reason: str, slice_size: int) -> None:
    failures = lab.ledger("one_way").handshakes_failed
    before = failures[reason]
    client = Client(lab.relays["one_way"].port)
    for start in range(0, len(sent), slice_size):
        client.send_raw(sent[start : start + slice_size])
    client.finish()
    _assert_all_handshake(lab, "one_way", client)
    assert failures[reason] == before + 1


def test_no_shared_cipher(lab: Lab) -> None:
    context = client_context("TLSv1.2", ciphers="NULL-SHA256:@SECLEVEL=0")
    _fail(lab, "one_way", context, "no_shared_cipher")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.2", "TLSv1.3"])
def test_no_certificate(lab: Lab, version: str) -> None:
    _fail(lab, "mutual", client_context(version), "no_certificate")


def _fail(lab: Lab, listener: str, context: ssl.SSLContext, reason: str) -> None:
    failures = lab.ledger(listener).handshakes_failed
    before = failures[reason]
    client = Client(lab.relays[listener].port, context)
    with suppress(ssl.SSLError, ConnectionResetError):
        client.shake_hands()
    with suppress(ssl.SSLError):  # With TLS 1.3 the client learns of it behind its own handshake only.
        client.finish()
    client.sock.close()
    _assert_all_handshake(lab, listener, client)
    assert failures[reason] == before + 1


def _assert_all_handshake(lab: Lab, listener: str, client: Client) -> None:
    relayed, traffic = lab.observed(listener, client)
    inward, outward = relayed.inward.total, relayed.outward.total
    assert traffic == Traffic(wire_in=inward, handshake_in=inward, wire_out=outward, handshake_out=outward)
    assert_adds_up(lab, listener, traffic)
