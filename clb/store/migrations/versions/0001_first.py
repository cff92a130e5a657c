"""The first schema: entries, certificates, overrides, tokens, audit records and replays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from clb.store.tables import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "store",
        sa.Column("one", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_store_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_store")),
    )
    _entries()
    _certificates()
    op.create_table(
        "overrides",
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("weight", sa.Integer),
        sa.Column("draining", sa.Boolean, nullable=False),
        sa.Column("file_weight", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_overrides")),
    )
    _access()


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("parent", sa.String(32)),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        sa.CheckConstraint("(parent IS NULL) = (kind = 'load_balancer')", name=op.f("ck_entries_parent_of_kind")),
        sa.ForeignKeyConstraint(["parent"], ["entries.id"], name=op.f("fk_entries_parent"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
    )
    op.create_index(op.f("ix_entries_parent"), "entries", ["parent"])
    op.create_index("uq_entries_natural", "entries", ["kind", sa.text("coalesce(parent, '')"), "key"], unique=True)


def _certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("type", sa.String(8), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("previous_generation", sa.Integer),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        sa.Column("replaced_at", UtcTime),
        sa.Column("notified_days", sa.Integer),
        sa.UniqueConstraint("name", name=op.f("uq_certificates_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
    op.create_table(
        "materials",
        sa.Column("certificate", sa.String(32), nullable=False),
        sa.Column("generation", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("chain_pem", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("key_digest", sa.String(128), nullable=False),
        sa.Column("not_before", UtcTime, nullable=False),
        sa.Column("not_after", UtcTime, nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate"], ["certificates.id"], name=op.f("fk_materials_certificate"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("certificate", "generation", name=op.f("pk_materials")),
    )


def _access() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", UtcTime),
        sa.Column("revoked_at", UtcTime),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_table(
        "replays",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request_digest", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_replays")),
    )
    op.create_index(op.f("ix_replays_created_at"), "replays", ["created_at"])
