"""Compare the books: the relay's and the client's on one side, clb's on the other."""

from __future__ import annotations

from ledger_client import Books, Client
from ledger_lab import Lab
from ledger_relay import RecordWalker

from clb.metering.counters import Traffic


def _handshake_and_overhead(walker: RecordWalker, books: Books) -> tuple[int, int]:
    """Sort the relay's record sizes by what the client's TLS says each record was."""
    assert len(walker.sizes) == len(books.records)
    handshake = data = rest = 0
    for size, kind in zip(walker.sizes, books.records, strict=True):
        if kind in ("handshake", "ticket"):
            handshake += size
        elif kind == "data":
            data += size
        else:
            rest += size
    return handshake, data - books.plaintext + rest


def expected_traffic(client: Client, inward: RecordWalker, outward: RecordWalker) -> Traffic:
    """What the ledger must say of a connection that ended in order."""
    assert inward.total == client.sent.wire
    assert outward.total == client.received.wire
    traffic = Traffic(wire_in=inward.total, wire_out=outward.total)
    traffic.billed_in, traffic.billed_out = client.sent.plaintext, client.received.plaintext
    if client.ssl_object is not None:
        traffic.handshake_in, traffic.overhead_in = _handshake_and_overhead(inward, client.sent)
        traffic.handshake_out, traffic.overhead_out = _handshake_and_overhead(outward, client.received)
    return traffic


def assert_exact(lab: Lab, listener: str, client: Client) -> Traffic:
    """Every class of both directions, to the byte; returns clb's classes."""
    relayed, traffic = lab.observed(listener, client)
    assert traffic == expected_traffic(client, relayed.inward, relayed.outward)
    assert_adds_up(lab, listener, traffic)
    return traffic


def assert_adds_up(lab: Lab, listener: str, traffic: Traffic) -> None:
    """The identity of the classes, and no class below zero."""
    assert (traffic.residual_in, traffic.residual_out) == (0, 0)
    assert lab.ledger(listener).residuals == 0
    assert all(getattr(traffic, name) >= 0 for name in Traffic.__slots__)
