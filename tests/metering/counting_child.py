"""A process that counts until it is killed, and says each time what it has stored: `counting_child.py DIRECTORY SEED`.

What it has said, a client has seen. It takes lanes over, makes records without end, and so makes the file grow.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path

from clb.metering.counters import Traffic
from clb.metering.ledger_registry import Ledgers, ledgers_in
from clb.metering.ledgers import ListenerLedger

SAID = struct.Struct("@4Q")
"""Connections, wire out, requests, bytes of requests' answers: all since this process began."""
LISTENER = "shop/https"


class Connection:
    """One client's; its answers are of one byte less than what is written for them."""

    def __init__(self, ledger: ListenerLedger) -> None:
        self.wire_in = self.billed_in = self.wire_out = self.billed_out = 0
        self.handshake_in = self.handshake_out = 0
        self.lanes = memoryview(b"")
        self.lane_at = 0
        ledger.opened(self)

    def traffic(self) -> Traffic:
        return Traffic(wire_in=self.wire_in, wire_out=self.wire_out, billed_in=self.wire_in, billed_out=self.wire_out)

    def store(self) -> None:
        lanes, at = self.lanes, self.lane_at
        lanes[at], lanes[at + 1] = self.wire_in, self.billed_in
        lanes[at + 2], lanes[at + 3] = self.wire_out, self.billed_out


def count(ledgers: Ledgers, chance: random.Random, out: int) -> None:
    """Never returns."""
    listener = ledgers.listener(LISTENER)
    connections = [Connection(listener) for _ in range(20)]
    said = [len(connections), 0, 0, 0]
    for number in range(1 << 40):
        place = chance.randrange(len(connections))
        if chance.random() < 0.2:
            listener.ended(connections[place], connections[place].traffic())
            connections[place] = Connection(listener)
            said[0] += 1
        connection, size = connections[place], chance.randrange(1, 5000)
        target = ledgers.target(f"{LISTENER} a.test/{number} 10.0.0.1:80")
        connection.wire_in += 1
        connection.wire_out += size
        target.adds(1, size - 1)
        target.answered(200, 0.001)
        connection.store()
        said[1] += size
        said[2] += 1
        said[3] += size - 1
        os.write(out, SAID.pack(*said))


if __name__ == "__main__":
    count(ledgers_in(Path(sys.argv[1]), sys.exit), random.Random(sys.argv[2]), sys.stdout.fileno())
