"""The durable ledger: usage by buckets of time, what was read of which counter file, and the chain of closed hours."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_AMOUNTS = (
    "wire_in", "billed_in", "wire_out", "billed_out",
    "handshake_in", "handshake_out", "overhead_in", "overhead_out",
    "unsent_handshake_out", "unsent_billed_out",
    "proxy_header_in", "plain_http_in", "unfinished_handshake_in", "unfinished_handshake_out",
    "connections", "residuals", "handshakes_full", "handshakes_resumed",
    "requests_none", "requests_1xx", "requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx",
    "unsent_out", "handshakes_failed", "refused", "rule_evaluations",
)  # fmt: skip


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "usage",
        sa.Column("resolution", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("kind", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _AMOUNTS),
        sa.Column("open_peak", sa.BigInteger, nullable=False),
        sa.Column("covers_from", sa.BigInteger),
        sa.PrimaryKeyConstraint("resolution", "start", "node", "kind", "key", "tenant", name=op.f("pk_usage")),
    )
    op.create_table(
        "usage_nodes",
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
        sa.Column("bucket", sa.BigInteger, nullable=False),
        sa.Column("closed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_usage_nodes")),
    )
    op.create_table(
        "usage_positions",
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("file", sa.String(32), nullable=False),
        sa.Column("kind", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("amounts", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("node", "file", "kind", "key", name=op.f("pk_usage_positions")),
    )
    op.create_table(
        "usage_hours",
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("chain", sa.String(64), nullable=False),
        sa.Column("residual_in", sa.BigInteger, nullable=False),
        sa.Column("residual_out", sa.BigInteger, nullable=False),
        sa.Column("residuals", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("public_key", sa.String(64)),
        sa.Column("signature", sa.String(128)),
        sa.PrimaryKeyConstraint("node", "sequence", name=op.f("pk_usage_hours")),
        sa.UniqueConstraint("node", "start", name=op.f("uq_usage_hours_node_start")),
    )
