"""Classes of bytes and their identity (design: wire = handshake + billed + overhead).

Owns:      the classes, what is taken out of them when a peer went away, reading them from a listener's counters.
Elsewhere: where bytes are seen (proxy/downstream.py), what is handshake (tls/engine.py), counting them (ledgers.py).
Pure:      numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


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
    unsent_handshake_out: int = 0
    """How much of `unsent` was handshake, and how much plaintext, when it was written."""
    unsent_billed_out: int = 0

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
        self.unsent_handshake_out += other.unsent_handshake_out
        self.unsent_billed_out += other.unsent_billed_out

    def as_written(self) -> Traffic:
        """Return the classes with what is unsent in them: these grow and never fall."""
        payload = self.unsent_out - self.unsent_handshake_out
        return replace(
            self,
            wire_out=self.wire_out + self.unsent_out,
            handshake_out=self.handshake_out + self.unsent_handshake_out,
            billed_out=self.billed_out + self.unsent_billed_out,
            overhead_out=self.overhead_out + payload - self.unsent_billed_out,
        )

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
    traffic.unsent_handshake_out += handshake_unsent
    traffic.unsent_billed_out += payload_unsent - overhead_unsent
    return traffic


def net_traffic(counts: Mapping[str, int]) -> Traffic:
    """Return a listener's classes from its counters, without what was written and never arrived.

    What an open connection has of overhead, and of a handshake that is under way, is in `wire` only.
    """
    unsent = counts["unsent_wire_out"]
    return Traffic(
        wire_in=counts["wire_in"],
        wire_out=counts["wire_out"] - unsent,
        handshake_in=counts["handshake_in"],
        handshake_out=counts["handshake_out"] - counts["unsent_handshake_out"],
        billed_in=counts["billed_in"],
        billed_out=counts["billed_out"] - counts["unsent_billed_out"],
        overhead_in=counts["overhead_in"],
        overhead_out=counts["overhead_out"],
        unsent_out=unsent,
        unsent_handshake_out=counts["unsent_handshake_out"],
        unsent_billed_out=counts["unsent_billed_out"],
    )
