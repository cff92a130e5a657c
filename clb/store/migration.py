"""Bring a database to the schema of this clb, or say why not.

Owns:      the lock under which that happens, and telling older, newer and foreign schemas apart.
Elsewhere: the steps (migrations/versions/); the newest schema (tables.py).

Everything happens in one transaction: a migration that fails leaves the database as it was. Alembic is imported only
if there is something to do, which at most starts there is not.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from clb.store import tables
from clb.store.engine import WRITES, translated
from clb.store.interface import SchemaFault

HEAD: Final = "0002"
"""The newest migration."""
_LOCK: Final = 0x636C62
"""PostgreSQL's advisory lock: "clb"."""


def migrate(engine: Engine) -> bool:
    """Do what is to be done; return whether there was anything.

    Raises:
        SchemaFault: the schema is newer than this clb, or not clb's.
        StoreAway: the database cannot be used.
    """
    with translated(), engine.connect() as connection:
        found = current(connection)
    if found == HEAD:
        return False
    with translated(), engine.connect().execution_options(**WRITES) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = current(connection)  # Another node may have been faster.
        if found != HEAD:
            _upgrade(connection)
            _first_row(connection)
    return found != HEAD


def current(connection: Connection) -> str | None:
    """The schema that is there; None of an empty database.

    Raises:
        SchemaFault: it is newer than this clb, or not clb's.
    """
    there = set(inspect(connection).get_table_names())
    if tables.SCHEMA_TABLE not in there:
        if there & set(tables.metadata.tables):
            raise SchemaFault("the database has tables of another program under clb's names; give clb its own")
        return None
    found = connection.execute(text(f"SELECT version_num FROM {tables.SCHEMA_TABLE}")).scalars().all()  # noqa: S608
    if len(found) != 1 or str(found[0]) > HEAD:
        names = ", ".join(map(str, found)) or "unknown"
        raise SchemaFault(
            f"the store has schema {names} and this clb knows schemas up to {HEAD}: run the clb that wrote it, or newer"
        )
    return str(found[0])


def _upgrade(connection: Connection) -> None:
    # Before it is imported: it tells of its plugins then.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "clb.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _first_row(connection: Connection) -> None:
    if connection.execute(tables.store.select()).first() is None:
        connection.execute(tables.store.insert().values(one=1, uuid=str(uuid.uuid4()), revision=0))
