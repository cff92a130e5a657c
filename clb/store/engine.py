"""Open a database, with every bound that keeps it from holding anybody up.

Owns:      the URL that a configuration means, connections and their settings, what a driver's error becomes.
Elsewhere: what is in the database (tables.py, database.py); bringing it up to date (migration.py).

SQLite: a write-ahead log, so that readers never wait for a writer; FULL, so that what was answered survives a power
loss; and transactions that begin when we say so, or the driver would commit before DDL behind our back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clb.store.interface import StoreAway, StoreFault

STORE_FILE: Final = "clb.db"
BUSY_S: Final = 3.0
"""How long SQLite waits for another writer, PostgreSQL for a lock, and anybody for a connection of the pool."""
STATEMENT_S: Final = 10.0
_LONGEST_REASON: Final = 200
WRITES: Final = {"clb_writes": True}
"""Execution options of a connection that is going to write: SQLite then takes the writer's lock at once."""

Owner = tuple[int, int]
"""User and group that a file is given to."""


def store_url(url: str | None, state_dir: Path, file: str = STORE_FILE) -> URL:
    """What a configuration's `store.url` means; None is a file in the state directory.

    A relative path of SQLite is relative to the state directory.
    """
    if url is None:
        return URL.create("sqlite", database=str(state_dir / file))
    made = make_url(url)
    if made.get_backend_name() == "sqlite":
        return made.set(database=str(state_dir / (made.database or file)))
    return made.set(drivername="postgresql+psycopg")


def open_engine(url: URL, owner: Owner | None = None) -> Engine:
    """An engine that has not connected yet; the file of a new SQLite database is made, with 0600.

    Raises:
        StoreAway: the file cannot be made.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, owner)
    seconds = int(STATEMENT_S * 1000), int(BUSY_S * 1000)
    return create_engine(
        url,
        pool_size=4,
        max_overflow=2,
        pool_timeout=BUSY_S,
        pool_pre_ping=True,
        pool_recycle=600,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 3,
            "application_name": "clb",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 8000,
            "options": f"-c statement_timeout={seconds[0]} -c lock_timeout={seconds[1]}"
            f" -c idle_in_transaction_session_timeout={seconds[0]} -c timezone=UTC",
        },
    )


def _sqlite(url: URL, owner: Owner | None) -> Engine:
    _make_file(Path(url.database or ""), owner)
    engine = create_engine(
        url,
        pool_size=4,
        max_overflow=2,
        pool_timeout=BUSY_S,
        hide_parameters=True,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _make_file(path: Path, owner: Owner | None) -> None:
    """SQLite gives its other files the rights and, as root, the owner of this one."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreAway(f"{path} cannot be made: {error.strerror}") from error
    try:
        if owner is not None and os.geteuid() == 0:
            os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)


def _set_up(connection: sqlite3.Connection, _: Any) -> None:
    connection.text_factory = _text
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _text(data: bytes) -> str:
    """A text of which a bit is another may be no UTF-8 any more: that must not keep all others from being read."""
    return data.decode("utf-8", "replace")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("clb_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Let what a driver raises come out as a fault of the store, without the URL and without parameters.

    Raises:
        StoreAway: the database cannot be used at the moment.
        StoreFault: it refused what it was given, which is a defect.
    """
    try:
        yield
    except IntegrityError as error:
        raise StoreFault(f"the database refused a record: {reason(error)}") from error
    except DBAPIError as error:
        raise StoreAway(reason(error)) from error
    except PoolTimeout as error:
        raise StoreAway("every connection to the database is in use") from error
    except SQLAlchemyError as error:
        raise StoreAway(type(error).__name__) from error


def reason(error: DBAPIError) -> str:
    """What the driver says, in one line and without more than it must."""
    lines = str(error.orig).strip().splitlines()
    return (lines[0] if lines else type(error.orig).__name__)[:_LONGEST_REASON]
