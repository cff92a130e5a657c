"""What a row of the durable ledger holds, and everything that is computed of rows.

Owns:      the amounts and their order, net figures, buckets of time, evaluations of rules, the chain of closed hours.
Elsewhere: reading counters (rolled_up.py); the tables (store/ledger.py); the writer (service/ledger_keeper.py).
Pure:      numbers and bytes in, numbers and bytes out. Times are whole seconds since 1970, UTC.

Amounts are as written: they only grow, so a difference of two readings is never negative. What turned out not to have
arrived is in the three `unsent_...` of its own and is taken out when a statement is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from clb.metering.counter_fields import REQUESTS, WIRE, Kind

MINUTE: Final = 60
FIVE_MINUTES: Final = 300
HOUR: Final = 3600
DAY: Final = 86400
RESOLUTIONS: Final = (MINUTE, FIVE_MINUTES, HOUR, DAY)

FREE_RULES: Final = 10
"""Of a listener: the first ones cost nothing (the model's billing)."""
_SAME: Final = (
    *WIRE,
    "handshake_in",
    "handshake_out",
    "overhead_in",
    "overhead_out",
    "unsent_handshake_out",
    "unsent_billed_out",
    "proxy_header_in",
    "plain_http_in",
    "unfinished_handshake_in",
    "unfinished_handshake_out",
    "connections",
    "residuals",
    "handshakes_full",
    "handshakes_resumed",
    *REQUESTS,
)
"""Counters that are taken as they are."""
AMOUNTS: Final = (*_SAME, "unsent_out", "handshakes_failed", "refused", "rule_evaluations")
"""Of a row, in the order in which they are hashed; a rule's row has `billed_...`, requests and evaluations only."""
GENESIS: Final = "0" * 64
"""What the first hour of a node is chained to."""

Amounts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """What one listener or rule of one tenant had in one bucket of time."""

    kind: Kind
    """LISTENER or RULE."""
    key: str
    """As metering/cells.py names it."""
    tenant: str
    """Label `tenant` of its load balancer, as it was then; empty without one."""
    amounts: Mapping[str, int]
    """By name (`AMOUNTS`); what is missing is 0."""
    open_peak: int = 0
    """Connections open at once, the most that was seen at a full second."""
    covers_from: int | None = None
    """Something in it was counted since then, and could be written only now."""


def amounts_of(counts: Mapping[str, int]) -> Amounts:
    """The amounts of a listener's or rule's counters; of those that are 0, nothing is kept."""
    found: Amounts = {}
    for name, count in counts.items():
        if count and (amount := _amount_of(name)) is not None:
            found[amount] = found.get(amount, 0) + count
    return found


@cache
def _amount_of(counter: str) -> str | None:
    """What a counter belongs to; names are a closed set of our own."""
    if counter in _SAME:
        return counter
    if counter == "unsent_wire_out":
        return "unsent_out"
    if counter.startswith("failed_"):
        return "handshakes_failed"
    return "refused" if counter.startswith("refused_") else None


def grown(now: Mapping[str, int], last: Mapping[str, int]) -> tuple[Amounts, bool]:
    """By how much each amount has grown, and whether one is lower than it was.

    Only a power cut makes one lower: the kernel had not written all to the disk. What was read of it before stays in
    the ledger, and counting goes on from where the counter is now.
    """
    growth, fell = {}, False
    for name in now.keys() | last.keys():
        more = now.get(name, 0) - last.get(name, 0)
        if more > 0:
            growth[name] = more
        fell = fell or more < 0
    return growth, fell


def requests_of(amounts: Mapping[str, int]) -> int:
    """Requests of all statuses."""
    return sum(amounts.get(name, 0) for name in REQUESTS)


def evaluations(requests: int, rules: int) -> int:
    """Rule evaluations of requests to a listener with so many rules: one each up to ten, then one for each above."""
    return requests * max(1, rules - FREE_RULES)


def bucket(now: int, resolution: int, last: int = 0) -> int:
    """Where a bucket begins: that of now, or the last one that was written to if the clock went back."""
    return max(last, now - now % resolution)


# --- statements ---


@dataclass(frozen=True, slots=True)
class Net:
    """Bytes by class and direction, without what was written and never arrived."""

    wire_in: int
    wire_out: int
    handshake_in: int
    handshake_out: int
    billed_in: int
    billed_out: int
    overhead_in: int
    overhead_out: int
    unsent_out: int

    @property
    def residual_in(self) -> int:
        """What is in no class: records that are still coming, overhead of connections that are open."""
        return self.wire_in - self.handshake_in - self.billed_in - self.overhead_in

    @property
    def residual_out(self) -> int:
        """The same of the other direction."""
        return self.wire_out - self.handshake_out - self.billed_out - self.overhead_out


def net(amounts: Mapping[str, int]) -> Net:
    """Net figures of amounts, or of sums of them."""

    def of(name: str) -> int:
        return amounts.get(name, 0)

    return Net(
        wire_in=of("wire_in"),
        wire_out=of("wire_out") - of("unsent_out"),
        handshake_in=of("handshake_in"),
        handshake_out=of("handshake_out") - of("unsent_handshake_out"),
        billed_in=of("billed_in"),
        billed_out=of("billed_out") - of("unsent_billed_out"),
        overhead_in=of("overhead_in"),
        overhead_out=of("overhead_out"),
        unsent_out=of("unsent_out"),
    )


def added(rows: Iterable[Mapping[str, int]]) -> Amounts:
    """Sums of amounts."""
    total: Amounts = {}
    for row in rows:
        for name, count in row.items():
            total[name] = total.get(name, 0) + count
    return total


# --- the chain of closed hours ---


def canonical(node: str, start: int, rows: Iterable[Row]) -> bytes:
    """A closed hour as bytes, the same wherever and whenever they are made."""
    listed = sorted(
        [
            int(row.kind),
            row.key,
            row.tenant,
            [row.amounts.get(name, 0) for name in AMOUNTS],
            row.open_peak,
            row.covers_from,
        ]
        for row in rows
    )
    return json.dumps([node, start, listed], ensure_ascii=True, separators=(",", ":")).encode("ascii")


def digest_of(node: str, start: int, rows: Iterable[Row]) -> str:
    """SHA-256 of a closed hour."""
    return hashlib.sha256(canonical(node, start, rows)).hexdigest()


def chained(before: str, sequence: int, digest: str) -> str:
    """The chain's value at an hour: it holds for this hour and all before it."""
    return hashlib.sha256(f"{before}\n{sequence}\n{digest}".encode("ascii")).hexdigest()
