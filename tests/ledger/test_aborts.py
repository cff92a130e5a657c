"""Must hold 3, aborts: what left clb and was never acknowledged is `unsent`, and all classes still add up.

The clients here have no relay in front of them: a relay would acknowledge in their place. What was acknowledged is
read from the client's own kernel.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest
from kernel_view import received_bytes, wait_until_still
from ledger_checks import assert_adds_up
from ledger_client import Client
from ledger_lab import VERSIONS, Lab
from ledger_real_server import body_of
from ledger_shapes import request

RECORD_BYTES = 16_384
MIB = 1 << 20
DOWNLOAD = request(f"/bytes/{10 * MIB}")


def connect(lab: Lab, listener: str, version: str | None) -> Client:
    client = Client(lab.ports[listener], lab.context(version) if version else None, receive_buffer=100_000)
    if client.ssl_object is not None:
        client.shake_hands(wait_for_tickets=version == "TLSv1.3")
    # An answer shows that clb has accepted the connection: of one that is reset before, it never learns the port.
    client.send(request("/bytes/1"))
    client.read_answer()
    return client


def peek(client: Client) -> bytes:
    """What has arrived and was not read."""
    return client.sock.recv(1 << 24, socket.MSG_PEEK)


@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_client_resets_in_mid_download(lab: Lab, version: str | None) -> None:
    listener = "one_way" if version else "plain"
    client = connect(lab, listener, version)
    client.send(DOWNLOAD)
    acknowledged = wait_until_still(client.sock)
    unread = peek(client)
    client.reset()
    traffic = lab.ledger(listener).wait_for(client.port)
    assert traffic.wire_out == acknowledged == client.received.wire + len(unread)
    assert traffic.unsent_out > 0
    assert traffic.wire_in == client.sent.wire
    assert_adds_up(lab, listener, traffic)
    assert traffic.handshake_out == client.received.handshake
    # The last record's part that arrived is billed as if a whole record's overhead were in the rest.
    if version:
        client.take(unread)
    assert abs(traffic.billed_out - client.received.plaintext) <= RECORD_BYTES or not version


@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_client_resets_in_mid_upload(lab: Lab, version: str | None) -> None:
    listener = "one_way" if version else "plain"
    client = connect(lab, listener, version)
    client.send(request("/echo-size", f"Content-Length: {MIB}", method="POST") + body_of(500_000))
    client.reset()
    traffic = lab.ledger(listener).wait_for(client.port)
    assert 0 < traffic.wire_in <= client.sent.wire
    assert traffic.billed_in <= client.sent.plaintext
    assert_adds_up(lab, listener, traffic)


@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_client_that_takes_nothing_is_cut(lab: Lab, version: str | None) -> None:
    listener = "impatient" if version else "impatient_plain"
    client = connect(lab, listener, version)
    client.send(DOWNLOAD)
    traffic = lab.ledger(listener).wait_for(client.port)
    assert traffic.unsent_out > 0
    assert_adds_up(lab, listener, traffic)
    # What the kernel of clb still held does not come behind the end of the account.
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    assert traffic.wire_out == client.received.wire == received_bytes(client.sock)


@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_real_server_dies_in_mid_answer(lab: Lab, version: str | None) -> None:
    listener = "one_way" if version else "plain"
    client = connect(lab, listener, version)
    client.send(request("/cut/100000"))
    client.read_until(b"\r\n\r\n")
    assert client.read_exactly(100_000) == body_of(100_000)
    wait_until_still(client.sock)
    lab.real_server.cut()
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    traffic = lab.ledger(listener).wait_for(client.port)
    assert traffic.wire_out == client.received.wire
    assert traffic.billed_out == client.received.plaintext
    assert traffic.handshake_out == client.received.handshake
    assert_adds_up(lab, listener, traffic)


def test_client_resets_behind_its_hello(lab: Lab) -> None:
    client = Client(lab.ports["one_way"], lab.context("TLSv1.3"))
    with suppress(ssl.SSLWantReadError):
        client.ssl_object.do_handshake()  # type: ignore[union-attr]
    client.flush("handshake")
    acknowledged = wait_until_still(client.sock)
    client.reset()
    traffic = lab.ledger("one_way").wait_for(client.port)
    assert (traffic.wire_in, traffic.wire_out) == (client.sent.wire, acknowledged)
    assert (traffic.handshake_in, traffic.handshake_out) == (traffic.wire_in, traffic.wire_out)
    assert_adds_up(lab, "one_way", traffic)


@pytest.mark.parametrize("version", VERSIONS)
def test_broken_record(lab: Lab, version: str) -> None:
    client = connect(lab, "one_way", version)
    client.send(request("/bytes/10"))
    client.read_answer()
    wait_until_still(client.sock)
    client.send_raw(b"\x17\x03\x03\x00\x40" + bytes(64))
    with pytest.raises(ssl.SSLError, match="_ALERT_"):
        client.read_to_end()
    client.finish()
    traffic = lab.ledger("one_way").wait_for(client.port)
    assert traffic.wire_in == client.sent.wire
    assert traffic.wire_out == client.received.wire
    assert (traffic.billed_in, traffic.billed_out) == (client.sent.plaintext, client.received.plaintext)
    assert_adds_up(lab, "one_way", traffic)


@pytest.mark.parametrize("version", VERSIONS)
def test_half_a_record_is_overhead(lab: Lab, version: str) -> None:
    client = connect(lab, "one_way", version)
    client.send_raw(client.encrypt(request("/bytes/10"))[:-1])
    client.finish()
    traffic = lab.ledger("one_way").wait_for(client.port)
    assert (traffic.wire_in, traffic.wire_out) == (client.sent.wire, client.received.wire)
    assert traffic.handshake_in == client.sent.handshake
    assert traffic.billed_in == client.sent.plaintext - len(request("/bytes/10"))
    assert_adds_up(lab, "one_way", traffic)


def test_body_behind_an_early_answer_is_not_billed(lab: Lab) -> None:
    client = connect(lab, "one_way", "TLSv1.3")
    client.send(request("/early", "Content-Length: 1000000", method="POST"))
    assert client.read_answer().status == 413
    billed = client.sent.plaintext
    client.send(body_of(1_000_000))
    client.say_goodbye()
    client.finish()
    traffic = lab.ledger("one_way").wait_for(client.port)
    assert (traffic.wire_in, traffic.wire_out) == (client.sent.wire, client.received.wire)
    assert traffic.billed_in == billed
    assert_adds_up(lab, "one_way", traffic)
