"""Count bytes by class, per connection, listener and rule (design: wire = handshake + billed + overhead).

Owns:      the classes, their identity, and the sums over open and closed connections.
Elsewhere: where bytes are seen (proxy/downstream.py) and what is handshake (tls/engine.py).
Pure:      numbers in, numbers out; `live` connections are asked when a snapshot is wanted, so that a
           WebSocket that is open all day shows every byte, and a request costs no second counter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Traffic:
    """Bytes by class and direction; `in` is from the client, `out` to it.

    Invariant, each direction: wire == handshake + billed + overhead + residual, and residual is 0 on every
    connection that is closed. `unsent` was written and never acknowledged: it is in no other class.
    """

    wire_in: int = 0
    wire_out: int = 0
    handshake_in: int = 0
    handshake_out: int = 0
    billed_in: int = 0
    billed_out: int = 0
    overhead_in: int = 0
    overhead_out: int = 0
    unsent_out: int = 0

    def add(self, other: Traffic) -> None:
        """Add every class of `other`."""
        self.wire_in += other.wire_in
        self.wire_out += other.wire_out
        self.handshake_in += other.handshake_in
        self.handshake_out += other.handshake_out
        self.billed_in += other.billed_in
        self.billed_out += other.billed_out
        self.overhead_in += other.overhead_in
        self.overhead_out += other.overhead_out
        self.unsent_out += other.unsent_out

    @property
    def residual_in(self) -> int:
        """Bytes read that are in no class yet: ciphertext of a record that is still incomplete."""
        return self.wire_in - self.handshake_in - self.billed_in - self.overhead_in

    @property
    def residual_out(self) -> int:
        """Bytes sent that are in no class."""
        return self.wire_out - self.handshake_out - self.billed_out - self.overhead_out


def after_abort(traffic: Traffic, acknowledged: int, record_expansion: int, record_plaintext: int) -> Traffic:
    """Take what the peer's kernel never acknowledged out of the outgoing classes.

    The unsent tail is cut at its end: as payload in full records first, then handshake. Which of its bytes were
    framing cannot be known without the size of each record; full records are assumed, and never more overhead
    than was counted, so the identity of the classes holds to the byte.

    Args:
        traffic: the classes as written to the socket.
        acknowledged: bytes of the stream that the peer acknowledged.
        record_expansion: bytes that a record adds to its plaintext; 0 on a plain listener.
        record_plaintext: plaintext bytes of a full record.
    """
    unsent = max(0, traffic.wire_out - acknowledged)
    if not unsent:
        return traffic
    handshake_unsent = max(0, unsent - (traffic.billed_out + traffic.overhead_out))
    payload_unsent = unsent - handshake_unsent
    records = -(-payload_unsent // (record_plaintext + record_expansion))
    overhead_unsent = min(traffic.overhead_out, records * record_expansion, payload_unsent)
    overhead_unsent = max(overhead_unsent, payload_unsent - traffic.billed_out)
    traffic.wire_out -= unsent
    traffic.handshake_out -= handshake_unsent
    traffic.overhead_out -= overhead_unsent
    traffic.billed_out -= payload_unsent - overhead_unsent
    traffic.unsent_out += unsent
    return traffic


class LiveConnection(Protocol):
    """What a listener's ledger asks of a connection that is open."""

    def traffic(self) -> Traffic:
        """Return the connection's bytes so far."""


class ListenerLedger:
    """One listener's sums: connections that are closed, and on demand those that are open."""

    def __init__(self) -> None:
        self.closed = Traffic()
        self.live: set[LiveConnection] = set()
        self.connections = 0
        self.handshakes_full = 0
        self.handshakes_resumed = 0
        self.handshakes_failed: Counter[str] = Counter()
        """By the reasons of tls/failures.py; a closed set."""
        self.refused: Counter[str] = Counter()
        """Connections and requests that clb itself turned away, by error reason; a closed set."""
        self.residuals = 0
        """Closed connections whose classes did not add up to the wire. Always 0, or there is a defect."""

    def opened(self, connection: LiveConnection) -> None:
        """Count a connection that was accepted."""
        self.connections += 1
        self.live.add(connection)

    def ended(self, connection: LiveConnection, traffic: Traffic) -> None:
        """Move a connection's bytes from live to closed."""
        self.live.discard(connection)
        self.closed.add(traffic)
        if traffic.residual_in or traffic.residual_out:
            self.residuals += 1

    def snapshot(self) -> Traffic:
        """Return the sums as of now."""
        total = Traffic()
        total.add(self.closed)
        for connection in self.live:
            total.add(connection.traffic())
        return total


class LiveExchange(Protocol):
    """What a rule's ledger asks of an exchange that is not over."""

    billed_in: int
    billed_out: int


class RuleLedger:
    """One rule's share: HTTP bytes and requests. Clb's own replies are in no rule's `billed_out`."""

    __slots__ = ("billed_in", "billed_out", "requests")

    def __init__(self) -> None:
        self.billed_in = 0
        self.billed_out = 0
        self.requests = 0

    def snapshot(self, live: Iterable[LiveExchange]) -> RuleLedger:
        """Return the sums as of now; `live` are the rule's exchanges that are not over. Requests count at their end."""
        total = RuleLedger()
        total.requests, total.billed_in, total.billed_out = self.requests, self.billed_in, self.billed_out
        for exchange in live:
            total.billed_in += exchange.billed_in
            total.billed_out += exchange.billed_out
        return total

    def take_back(self, unsent: int) -> None:
        """Take out HTTP bytes that were counted when they were written and never arrived."""
        self.billed_out -= min(unsent, self.billed_out)
