"""The tables of a store, as SQLAlchemy describes them.

Owns:      columns, keys and constraints of the newest schema.
Elsewhere: how a database comes to it (migrations/); rows to values and back (rows.py).

Documents are JSON text and not the database's own JSON type: what was written comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""What a damaged moment is read as."""
SCHEMA_TABLE = "clb_schema"
"""Where Alembic keeps which migrations have been done."""


class UtcTime(TypeDecorator[datetime]):
    """A moment. SQLite knows no zones, so what is stored is always UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """A moment that is damaged is long ago: what it belongs to can be read, and nothing is let in by it."""
        process = super().result_processor(dialect, coltype)
        if process is None:
            return None

        def read(value: Any) -> Any:
            try:
                return process(value)
            except (ValueError, TypeError):
                return LONG_AGO

        return read


# Alembic compares and names by these, so that a constraint has the same name in every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID, _NAME = String(32), String(255)

store = Table(
    "store",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("uuid", String(36), nullable=False),
    Column("revision", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("parent", _ID, ForeignKey("entries.id", ondelete="CASCADE"), index=True),
    Column("position", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    CheckConstraint("(parent IS NULL) = (kind = 'load_balancer')", name="parent_of_kind"),
)
# To a unique constraint two rows without a parent would never be alike.
Index("uq_entries_natural", entries.c.kind, text("coalesce(parent, '')"), entries.c.key, unique=True)

certificates = Table(
    "certificates",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("type", String(8), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("previous_generation", Integer),
    Column("forced", Boolean(create_constraint=False), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("replaced_at", UtcTime),
    Column("notified_days", Integer),
    UniqueConstraint("name"),
)

materials = Table(
    "materials",
    metadata,
    Column("certificate", _ID, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("chain_pem", Text, nullable=False),
    Column("key_id", Text),
    Column("wrapped", LargeBinary),
    Column("sealed", LargeBinary),
    Column("fingerprint", String(64), nullable=False),
    Column("key_digest", String(128), nullable=False),
    Column("not_before", UtcTime, nullable=False),
    Column("not_after", UtcTime, nullable=False),
    ForeignKeyConstraint(["certificate"], ["certificates.id"], ondelete="CASCADE"),
)

overrides = Table(
    "overrides",
    metadata,
    Column("target", Text, primary_key=True),
    Column("weight", Integer),
    Column("draining", Boolean(create_constraint=False), nullable=False),
    Column("file_weight", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("version", Integer, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    # SQLite counts up by itself only in a column that it calls INTEGER.
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("request_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    # A number is never given twice, whatever was pruned: who reads on from a number misses nothing.
    sqlite_autoincrement=True,
)

replays = Table(
    "replays",
    metadata,
    Column("key", Text, primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False, index=True),
)

# --- the ledger: written by nodes each second, outside of the revision ---

USAGE_AMOUNTS = (
    "wire_in", "billed_in", "wire_out", "billed_out",
    "handshake_in", "handshake_out", "overhead_in", "overhead_out",
    "unsent_handshake_out", "unsent_billed_out",
    "proxy_header_in", "plain_http_in", "unfinished_handshake_in", "unfinished_handshake_out",
    "connections", "residuals", "handshakes_full", "handshakes_resumed",
    "requests_none", "requests_1xx", "requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx",
    "unsent_out", "handshakes_failed", "refused", "rule_evaluations",
)  # fmt: skip
"""The names of metering/usage.py, which this layer does not know; a test compares them."""

usage = Table(
    "usage",
    metadata,
    Column("resolution", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("node", _NAME, primary_key=True),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in USAGE_AMOUNTS),
    Column("open_peak", BigInteger, nullable=False),
    Column("covers_from", BigInteger),
)

usage_nodes = Table(
    "usage_nodes",
    metadata,
    Column("node", _NAME, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("written_at", BigInteger, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("closed", BigInteger, nullable=False),
)

usage_positions = Table(
    "usage_positions",
    metadata,
    Column("node", _NAME, primary_key=True),
    Column("file", String(32), primary_key=True),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("amounts", Text, nullable=False),
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("node", _NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("chain", String(64), nullable=False),
    Column("residual_in", BigInteger, nullable=False),
    Column("residual_out", BigInteger, nullable=False),
    Column("residuals", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=False),
    Column("key_id", Text),
    Column("public_key", String(64)),
    Column("signature", String(128)),
    UniqueConstraint("node", "start"),
)

LEDGER = (usage, usage_nodes, usage_positions, usage_hours)
"""What is no part of the inventory: neither in a backup nor replaced by one."""
