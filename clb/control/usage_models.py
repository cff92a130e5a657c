"""What `/v1/usage` answers.

Owns:      the models; docs/billing.md tells of them.
Elsewhere: filling them (usage_reports.py); the routes (usage_routes.py).

Bytes are net: what was written and never arrived is in `unsent_out` alone. A field of an answer is only ever added.
"""

from __future__ import annotations

from datetime import datetime

from clb.control.models import Answer


class UsageFigures(Answer):
    """Sums over a time."""

    billed_in: int
    billed_out: int
    handshake_in: int
    handshake_out: int
    overhead_in: int
    overhead_out: int
    wire_in: int
    wire_out: int
    unsent_out: int
    residual_in: int
    """`wire - handshake - billed - overhead`: of connections that are open, else 0."""
    residual_out: int
    connections: int
    connections_open_peak: int
    """The most that were open at once; of several listeners, of the one that had most."""
    handshakes_full: int
    handshakes_resumed: int
    handshakes_failed: int
    requests: dict[str, int]
    """By class of the status; `none` ended without one."""
    rule_evaluations: int
    defects: int
    """Connections whose bytes did not add up when they were closed. Not 0: a defect of clb."""


class UsageGroup(UsageFigures):
    """One line of a statement."""

    node: str | None = None
    """What is null was not asked for by `by`."""
    tenant: str | None = None
    load_balancer: str | None = None
    listener: str | None = None
    rule: str | None = None
    start: datetime | None = None
    """With `every`: when this step begins."""
    covers_from: datetime | None = None
    """Something in it was counted since then and could be written only later."""


class Usage(Answer):
    """A statement."""

    begin: datetime
    """As asked for, to the whole minute, or hour where minutes are not kept any more."""
    end: datetime
    by: list[str]
    groups: list[UsageGroup]
    total: UsageFigures
    """Of listeners; of a statement by rule, of rules, which have billed bytes and requests only."""
    explanation: str
    """Why there is more on the wire than is billed (the FAQ's question 5), with these figures."""
    closed_until: datetime | None
    """Hours before this are closed, chained and stay as they are; null: none is."""
    next: str | None = None


class LinkAnswer(Answer):
    """One closed hour of a node."""

    node: str
    sequence: int
    start: datetime
    rows: int
    digest: str
    chain: str
    """SHA-256 of the link before, the sequence and the digest: it holds for this hour and all before it."""
    residual_in: int
    residual_out: int
    defects: int
    key_id: str | None
    public_key: str | None
    """Ed25519, hexadecimal."""
    signature: str | None
    """Of `chain`, hexadecimal; null: the node had no keyring then."""


class Heads(Answer):
    """The newest link of each node. Keep them elsewhere: who can write the database can cut a chain's end off."""

    heads: list[LinkAnswer]


class Break(Answer):
    """Where a chain does not hold."""

    node: str
    hour: datetime | None
    sequence: int | None
    what: str


class Verification(Answer):
    """What walking the chains found."""

    ok: bool
    hours: int
    signed: int
    """Of them with a signature that holds."""
    pruned: int
    """Hours whose rows are not kept any more; their links were checked."""
    breaks: list[Break]
    heads: list[LinkAnswer]
