"""A store in SQLite or PostgreSQL.

Owns:      reading everything at one revision, and a write as one transaction.
Elsewhere: connections and errors (engine.py); the schema (tables.py, migration.py); waiting (changes.py).

The revision is what serialises writers: a transaction first counts it up from the one that its write was drafted on,
which takes the row's lock, and finds none if another was faster. What comes behind it cannot conflict with anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, delete, func, insert, literal, select, update
from sqlalchemy.exc import DBAPIError

from clb.store import rows, tables
from clb.store.changes import CHANNEL, Listener, wait_by_polling
from clb.store.engine import WRITES, Owner, open_engine, reason, store_url, translated
from clb.store.interface import OutcomeUnknown, StaleRevision, StoreFault
from clb.store.inventory import AuditRecord, Certificate, Entry, Inventory, Replay, Write
from clb.store.ledger import LedgerTables
from clb.store.migration import migrate

REPLAYS_KEPT: Final = timedelta(days=1)
AUDIT_KEPT: Final = timedelta(days=400)
MOST_AUDIT_RECORDS: Final = 1000
_NOBODYS: Final = "\n"
"""No key begins with it."""
_AT_ONCE: Final = 500
"""Values in one IN (...): SQLite has a bound."""

_logger = logging.getLogger(__name__)


def open_store(url: str | None, state_dir: Path, owner: Owner | None = None) -> Database:
    """A store that is up to date already; connects when it is asked for something.

    Raises:
        StoreAway: an SQLite file cannot be made.
    """
    return Database(open_engine(store_url(url, state_dir), owner))


def prepare_store(url: str | None, state_dir: Path, owner: Owner | None = None) -> Database:
    """A store, brought to the newest schema.

    Raises:
        SchemaFault: the schema is newer than this clb, or not clb's.
        StoreAway: the database cannot be used.
    """
    database = open_store(url, state_dir, owner)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


class Database:
    """One for each process that uses it; its methods may be called from several threads."""

    def __init__(self, engine: Engine, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._now = now
        self._listener = Listener(engine) if engine.dialect.name == "postgresql" else None
        self.ledger = LedgerTables(engine)

    @property
    def engine(self) -> Engine:
        """For backups and tests."""
        return self._engine

    def migrate(self) -> bool:
        """See migration.migrate."""
        return migrate(self._engine)

    def close(self) -> None:
        """Let go of all connections."""
        if self._listener is not None:
            self._listener.close()
        self._engine.dispose()

    # --- reading ---

    def read(self) -> Inventory:
        """Everything, by one consistent read."""
        with translated(), self._reading() as connection, connection.begin():
            revision = connection.execute(select(tables.store.c.revision)).scalar_one()
            materials = {
                (row["certificate"], row["generation"]): rows.material_of(row)
                for row in _all(connection, tables.materials)
            }
            return Inventory.of(
                revision,
                map(rows.entry_of, _all(connection, tables.entries)),
                [rows.certificate_of(row, materials) for row in _all(connection, tables.certificates)],
                map(rows.override_of, _all(connection, tables.overrides)),
                map(rows.token_of, _all(connection, tables.tokens)),
            )

    def revision(self) -> int:
        """The present revision."""
        with translated(), self._engine.connect() as connection:
            return int(connection.execute(select(tables.store.c.revision)).scalar_one())

    def replay(self, key: str) -> Replay | None:
        """The answer that was given under an idempotency key."""
        wanted = select(tables.replays).where(
            tables.replays.c.key == key, tables.replays.c.created_at > self._now() - REPLAYS_KEPT
        )
        with translated(), self._engine.connect() as connection:
            found = connection.execute(wanted).mappings().first()
            return None if found is None else rows.replay_of(dict(found))

    def audit(self, after: int, limit: int, since: datetime | None = None) -> list[tuple[int, AuditRecord]]:
        """Audit records with their numbers, newest first."""
        table = tables.audit
        wanted = select(table).order_by(table.c.number.desc()).limit(min(limit, MOST_AUDIT_RECORDS))
        if after:
            wanted = wanted.where(table.c.number < after)
        if since is not None:
            wanted = wanted.where(table.c.at >= since)
        with translated(), self._engine.connect() as connection:
            return [(row["number"], rows.audit_of(dict(row))) for row in connection.execute(wanted).mappings()]

    def wait_for_change(self, known: int, timeout_s: float, stopped: Callable[[], bool]) -> bool:
        """Wait until the revision may be another."""
        if self._listener is not None:
            return self._listener.wait(self.revision, known, timeout_s, stopped)
        return wait_by_polling(self.revision, known, timeout_s, stopped)

    def _reading(self) -> Connection:
        """SQLite's transactions see one state by themselves."""
        level = {"isolation_level": "REPEATABLE READ"} if self._engine.dialect.name == "postgresql" else {}
        return self._engine.connect().execution_options(**level)

    # --- writing ---

    def commit(self, write: Write, expected: int) -> int:
        """Write it, if the revision is still `expected`; return the new one."""

        def work(connection: Connection) -> int:
            revision = self._count_up(connection, expected) if write.changes_something else expected
            self._write(connection, write)
            self._note(connection, write)
            return revision

        return self._in_one_transaction(work, expected)

    def replace(self, inventory: Inventory, audit: Sequence[AuditRecord]) -> int:
        """Put this in the place of everything (backup.py); return the new revision."""
        whole = Write(
            entries=tuple(inventory.entries.values()),
            certificates=tuple(inventory.certificates.values()),
            overrides=tuple(inventory.overrides.values()),
            tokens=tuple(inventory.tokens.values()),
        )

        def work(connection: Connection) -> int:
            was = int(connection.execute(select(tables.store.c.revision).with_for_update()).scalar_one())
            revision = max(was, inventory.revision) + 1
            connection.execute(update(tables.store).values(revision=revision))
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.store and table not in tables.LEDGER:
                    connection.execute(delete(table))
            self._write(connection, whole)
            if audit:
                connection.execute(insert(tables.audit), [rows.audit_row(each) for each in audit])
            return revision

        return self._in_one_transaction(work, None)

    def _in_one_transaction(self, work: Callable[[Connection], int], expected: int | None) -> int:
        with translated(), self._engine.connect().execution_options(**WRITES) as connection:
            transaction = connection.begin()
            try:
                revision = work(connection)
                if revision != expected and self._listener is not None:
                    connection.execute(select(func.pg_notify(CHANNEL, str(revision))))
            except BaseException:
                self._give_up(connection)
                raise
            try:
                transaction.commit()
            except DBAPIError as error:
                self._commit_failed(connection, error)
            return revision

    def _commit_failed(self, connection: Connection, error: DBAPIError) -> None:
        """Tell what surely did not take place from what nobody can know."""
        self._give_up(connection)
        if self._engine.dialect.name == "postgresql" and error.connection_invalidated:
            raise OutcomeUnknown(f"the connection was lost during COMMIT: {reason(error)}") from error
        raise error

    @staticmethod
    def _give_up(connection: Connection) -> None:
        try:
            connection.rollback()
        except DBAPIError as error:
            _logger.debug("no rollback: %s", reason(error))
            connection.invalidate()

    def _count_up(self, connection: Connection, expected: int) -> int:
        counted = update(tables.store).where(tables.store.c.revision == expected).values(revision=expected + 1)
        if connection.execute(counted).rowcount != 1:
            raise StaleRevision(f"the store is not at revision {expected} any more")
        return expected + 1

    @staticmethod
    def _write(connection: Connection, write: Write) -> None:
        _remove(connection, tables.entries, sorted(write.removed))
        _remove(connection, tables.certificates, sorted(write.removed_certificates))
        _remove(connection, tables.overrides, sorted(write.removed_overrides))
        _put_entries(connection, write.entries)
        for certificate in write.certificates:
            _put_certificate(connection, certificate)
        _put(connection, tables.overrides, [rows.override_row(each) for each in write.overrides])
        _put(connection, tables.tokens, [rows.token_row(each) for each in write.tokens])

    def _note(self, connection: Connection, write: Write) -> None:
        now = self._now()
        if write.audit:
            connection.execute(delete(tables.audit).where(tables.audit.c.at < now - AUDIT_KEPT))
            connection.execute(insert(tables.audit), [rows.audit_row(each) for each in write.audit])
        if write.replay is not None:
            old = tables.replays.c.created_at < now - REPLAYS_KEPT
            connection.execute(delete(tables.replays).where(old | (tables.replays.c.key == write.replay.key)))
            connection.execute(insert(tables.replays), [rows.replay_row(write.replay)])


def _all(connection: Connection, table: Table) -> Sequence[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


def _key(table: Table) -> Any:
    return next(iter(table.primary_key.columns))


def _remove(connection: Connection, table: Table, keys: Sequence[str]) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        connection.execute(delete(table).where(_key(table).in_(keys[start : start + _AT_ONCE])))


def _there(connection: Connection, table: Table, keys: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(keys), _AT_ONCE):
        wanted = select(_key(table)).where(_key(table).in_(keys[start : start + _AT_ONCE]))
        found.update(connection.execute(wanted).scalars())
    return found


def _put(connection: Connection, table: Table, values: Sequence[dict[str, Any]]) -> None:
    """Insert what is new and change what is there. Never deleted and made again: others may hang below it."""
    key = _key(table)
    there = _there(connection, table, [each[key.name] for each in values])
    new = [each for each in values if each[key.name] not in there]
    for each in values:
        if each[key.name] in there:
            changed = connection.execute(update(table).where(key == each[key.name]).values(each))
            if changed.rowcount != 1:  # pragma: no cover - the revision's lock is ours
                raise StoreFault(f"{table.name}: a record went away while it was written")
    if new:
        connection.execute(insert(table), new)


def _put_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Parents before children; keys are let go of first, so that two entries may take each other's."""
    table = tables.entries
    ids = [each.id for each in entries]
    if len(entries) > 1:
        for start in range(0, len(ids), _AT_ONCE):
            some = table.c.id.in_(ids[start : start + _AT_ONCE])
            connection.execute(update(table).where(some).values(key=literal(_NOBODYS) + table.c.id))
    # The order of the kinds is that of the tree.
    depth = {kind: number for number, kind in enumerate(("load_balancer", "listener", "rule", "target"))}
    for level in sorted({depth[each.kind] for each in entries}):
        _put(connection, table, [rows.entry_row(each) for each in entries if depth[each.kind] == level])


def _put_certificate(connection: Connection, certificate: Certificate) -> None:
    _put(connection, tables.certificates, [rows.certificate_row(certificate)])
    connection.execute(delete(tables.materials).where(tables.materials.c.certificate == certificate.id))
    connection.execute(insert(tables.materials), rows.material_rows(certificate))
