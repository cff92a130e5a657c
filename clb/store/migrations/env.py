"""What Alembic runs: the migrations, in the transaction of whoever called (migration.py)."""

from __future__ import annotations

from alembic import context

from clb.store.tables import SCHEMA_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=SCHEMA_TABLE,
    # Alembic believes that SQLite commits around DDL. It does not, since transactions are begun by us (engine.py).
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
