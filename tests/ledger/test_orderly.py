"""Must hold 3: for connections that end in order the ledger is what the observer saw, to the byte."""

from __future__ import annotations

import pytest
from ledger_checks import assert_exact
from ledger_client import Client
from ledger_lab import VERSIONS, Lab
from ledger_real_server import body_of
from ledger_shapes import SHAPES, Shape, play, request, upload

MIB = 1 << 20


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("listener", ["one_way", "mutual"])
@pytest.mark.parametrize("kind", ["full", "resumed"])
@pytest.mark.parametrize("version", VERSIONS)
def test_ledger_equals_the_observers_books(lab: Lab, version: str, kind: str, listener: str, shape: Shape) -> None:
    mutual = listener == "mutual"
    session = lab.session(version, mutual=mutual) if kind == "resumed" else None
    client = Client(lab.relays[listener].port, lab.context(version, mutual=mutual), session=session)
    play(client, shape)
    assert client.ssl_object is not None
    assert client.ssl_object.version() == version
    assert client.ssl_object.session_reused == (kind == "resumed")
    assert_exact(lab, listener, client)


@pytest.mark.parametrize("first", [request("/bytes/10485760"), upload(10 * MIB)], ids=["down", "up"])
@pytest.mark.parametrize("version", VERSIONS)
def test_ten_mebibytes(lab: Lab, version: str, first: bytes) -> None:
    client = Client(lab.relays["one_way"].port, lab.context(version))
    client.shake_hands()
    client.send(first)
    body = client.read_answer().body
    assert body == (body_of(10 * MIB) if first.startswith(b"GET") else b"%d" % (10 * MIB))
    client.say_goodbye()
    client.finish()
    assert_exact(lab, "one_way", client)


SUITES = {  # suite: bytes that a record adds to its plaintext (None: padding, so it varies)
    "ECDHE-RSA-AES128-GCM-SHA256": 29,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 29,
    "ECDHE-RSA-CHACHA20-POLY1305": 21,
    "DHE-RSA-AES256-GCM-SHA384": 29,
    "DHE-RSA-AES128-SHA": None,
    "ECDHE-ECDSA-AES128-SHA256": None,
    "AES256-GCM-SHA384": 29,
    "AES128-SHA": None,
}


@pytest.mark.parametrize(("suite", "expansion"), SUITES.items(), ids=SUITES)
def test_suites(lab: Lab, suite: str, expansion: int | None) -> None:
    client = Client(lab.relays["one_way"].port, lab.context("TLSv1.2", ciphers=f"{suite}:@SECLEVEL=0"))
    client.shake_hands()
    client.send(upload(50_000) + request("/bytes/50000"))
    assert client.read_answer().body == b"50000"
    assert client.read_answer().body == body_of(50_000)
    client.say_goodbye()
    client.finish()
    assert client.ssl_object is not None
    assert client.ssl_object.cipher()[0] == suite  # type: ignore[index]
    traffic = assert_exact(lab, "one_way", client)
    if expansion is not None:  # The size of a close_notify is two bytes and as much around them.
        records_in, records_out = client.sent.records.count("data"), client.received.records.count("data")
        assert traffic.overhead_in == expansion * (records_in + 1) + 2
        assert traffic.overhead_out == expansion * (records_out + 1) + 2


PLAIN = [
    "no_body",
    "keep_alive",
    "pipelined",
    "chunked",
    "http_1_0",
    "uploads",
    "upload_in_chunks",
    "refused",
    "tunnel",
]


@pytest.mark.parametrize("shape", [SHAPES[name] for name in PLAIN], ids=PLAIN)
def test_on_a_plain_listener_billed_is_wire(lab: Lab, shape: Shape) -> None:
    client = Client(lab.relays["plain"].port)
    play(client, shape)
    traffic = assert_exact(lab, "plain", client)
    assert (traffic.billed_in, traffic.billed_out) == (traffic.wire_in, traffic.wire_out)


def test_proxy_header_is_overhead(lab: Lab) -> None:
    header = b"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n"
    client = Client(lab.ports["proxied"], lab.context("TLSv1.3"), prefix=header)
    client.shake_hands(request("/bytes/5"))
    client.read_answer()
    client.say_goodbye()
    client.finish()
    traffic = lab.ledger("proxied").wait_for(5)  # By the port that the header announces.
    assert (traffic.wire_in, traffic.wire_out) == (client.sent.wire, client.received.wire)
    assert (traffic.handshake_in, traffic.billed_in) == (client.sent.handshake, client.sent.plaintext)
    assert traffic.overhead_in == client.sent.overhead
    assert lab.ledger("proxied").residuals == 0


def test_listener_is_the_sum_of_its_connections(lab: Lab) -> None:
    before = lab.snapshot("one_way")
    for size in (0, 5000):
        client = Client(lab.relays["one_way"].port, lab.context("TLSv1.3"))
        client.shake_hands(request(f"/bytes/{size}"))
        client.read_answer()
        client.say_goodbye()
        client.finish()
        before.add(assert_exact(lab, "one_way", client))
    assert lab.snapshot("one_way") == before
