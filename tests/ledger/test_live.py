"""Bytes show while connections are open, and a rule has its share of them."""

from __future__ import annotations

import pytest
from kernel_view import wait_until_still
from ledger_checks import assert_adds_up, assert_exact
from ledger_client import Client
from ledger_lab import Lab
from ledger_real_server import body_of
from ledger_shapes import UPGRADE, request, upload

from clb.metering.counters import Traffic

MIB = 1 << 20


def difference(after: Traffic, before: Traffic) -> Traffic:
    return Traffic(**{name: getattr(after, name) - getattr(before, name) for name in Traffic.__slots__})


def rule(lab: Lab, listener: str, domain: str) -> tuple[int, int, int]:
    return lab.rule_sums(listener, domain)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.2", "TLSv1.3"])
def test_bytes_of_a_websocket_show_while_it_is_open(lab: Lab, version: str) -> None:
    before = lab.snapshot("mutual")
    _, rule_in, rule_out = rule(lab, "mutual", "b.test")
    client = Client(lab.relays["mutual"].port, lab.context(version, mutual=True))
    client.shake_hands()
    client.send(UPGRADE.replace(b"a.test", b"b.test"))
    assert client.read_answer().status == 101
    for size in (1, 100, 50_000):
        client.send(body_of(size))
        client.read_exactly(size)
        live = difference(lab.snapshot("mutual"), before)
        assert (live.wire_in, live.handshake_in, live.billed_in, live.overhead_in) == (
            client.sent.wire,
            client.sent.handshake,
            client.sent.plaintext,
            client.sent.overhead,
        )
        assert (live.wire_out, live.handshake_out, live.billed_out, live.overhead_out) == (
            client.received.wire,
            client.received.handshake,
            client.received.plaintext,
            client.received.overhead,
        )
        share = client.sent.plaintext + rule_in, client.received.plaintext + rule_out
        assert rule(lab, "mutual", "b.test")[1:] == share
    client.say_goodbye()
    client.finish()
    assert_exact(lab, "mutual", client)
    assert rule(lab, "mutual", "b.test")[1:] == share


def test_rules_share_a_connection(lab: Lab) -> None:
    """Each rule has the HTTP bytes of its own requests, though one record carries both."""
    before = {domain: rule(lab, "one_way", domain) for domain in ("a.test", "b.test", "down.test")}
    first, second = request("/bytes/1000"), request("/bytes/20000", host="b.test")
    third, nowhere = upload(5000), request("/", host="down.test")
    client = Client(lab.relays["one_way"].port, lab.context("TLSv1.3"))
    client.shake_hands(first + second + third + nowhere)
    answers = []
    for _ in range(4):
        start = client.received.plaintext - len(client.plaintext)
        client.read_answer()
        answers.append(client.received.plaintext - len(client.plaintext) - start)
    client.say_goodbye()
    client.finish()
    traffic = assert_exact(lab, "one_way", client)
    change = {
        domain: tuple(now - then for now, then in zip(rule(lab, "one_way", domain), before[domain], strict=True))
        for domain in before
    }
    assert change["a.test"] == (2, len(first) + len(third), answers[0] + answers[2])
    assert change["b.test"] == (1, len(second), answers[1])
    assert change["down.test"] == (1, len(nowhere), 0)  # Clb's own 502 is billed to the listener only.
    assert sum(answers) == traffic.billed_out


@pytest.mark.parametrize("answer", ["under_way", "written"])
def test_what_is_unsent_is_billed_to_no_rule(lab: Lab, answer: str) -> None:
    """Whether clb still has the answer's end in hand or has given all of it to the kernel."""
    size = 10 * MIB if answer == "under_way" else 2 * MIB
    _, _, before = rule(lab, "one_way", "b.test")
    client = Client(lab.ports["one_way"], lab.context("TLSv1.3"), receive_buffer=100_000)
    client.shake_hands()
    client.send(request(f"/bytes/{size}", host="b.test"))
    wait_until_still(client.sock)
    client.reset()
    traffic = lab.ledger("one_way").wait_for(client.port)
    assert traffic.unsent_out > 0
    assert_adds_up(lab, "one_way", traffic)
    assert rule(lab, "one_way", "b.test")[2] - before == traffic.billed_out
