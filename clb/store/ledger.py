"""The tables of the ledger: one writer for each node, any number of readers.

Owns:      deltas with last-read values in one transaction, roll-ups, pruning, the chain's rows, sums for statements.
Elsewhere: what amounts mean and how an hour is hashed (metering/usage.py, service/ledger_keeper.py); connections and
           errors (engine.py).

A transaction counts the node's `sequence` up from the one that its positions were read at. If somebody else wrote in
between (another control process of the node, while one takes the other's place), it finds none and nothing is
written: so what was counted is in the ledger exactly once, whoever is killed when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Compiled,
    Connection,
    Engine,
    Insert,
    Table,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from clb.store.engine import WRITES, reason, translated
from clb.store.interface import OutcomeUnknown, StaleRevision
from clb.store.tables import USAGE_AMOUNTS, usage, usage_hours, usage_nodes, usage_positions

_MINUTE: Final = 60
_encode: Final = json.JSONEncoder(sort_keys=True).encode
_RESOLUTIONS: Final = (_MINUTE, 300, 3600, 86400)

_Result = TypeVar("_Result")

Position = tuple[str, int, str]
"""File, kind and key."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of `usage`."""

    start: int
    kind: int
    key: str
    tenant: str
    amounts: Mapping[str, int]
    open_peak: int = 0
    covers_from: int | None = None
    node: str = ""
    """Of rows that are read."""


@dataclass(frozen=True, slots=True)
class ClosedHour:
    """One link of a node's chain."""

    node: str
    sequence: int
    """Counts up without a gap, whatever hours there are."""
    start: int
    rows: int
    digest: str
    chain: str
    residual_in: int
    residual_out: int
    residuals: int
    """Connections that did not add up: 0, or there is a defect."""
    closed_at: int
    key_id: str | None = None
    public_key: str | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class NodeState:
    """How far a node's ledger is."""

    sequence: int = 0
    written_at: int = 0
    bucket: int = 0
    """The minute that was written to last."""
    closed: int = 0
    """Hours before this time are closed."""


@dataclass(frozen=True, slots=True)
class LedgerWrite:
    """What one transaction writes."""

    rows: Sequence[UsageRow]
    """Added to what their minutes have."""
    positions: Mapping[Position, Mapping[str, int]]
    gone: Iterable[Position] = ()
    state: NodeState = field(default_factory=NodeState)
    """As it is to be, but for the sequence."""


Close = Callable[[int, list[UsageRow], ClosedHour | None], ClosedHour]
"""From an hour's start, its rows and the link before it, to its link."""


class LedgerTables:
    """Of one database; methods may be called from several threads, and wait for a disk or network."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- the writer ---

    def state(self, node: str) -> tuple[NodeState, dict[Position, dict[str, int]]]:
        """How far a node's ledger is, and what was read of each counter.

        Raises:
            StoreAway: the database cannot be read.
        """
        positions = select(usage_positions).where(usage_positions.c.node == node)
        with translated(), self._engine.connect() as connection, connection.begin():
            row = connection.execute(select(usage_nodes).where(usage_nodes.c.node == node)).first()
            found = {
                (each.file, each.kind, each.key): json.loads(each.amounts) for each in connection.execute(positions)
            }
        return (
            NodeState(row.sequence, row.written_at, row.bucket, row.closed) if row is not None else NodeState()
        ), found

    def write(self, node: str, known: NodeState, write: LedgerWrite) -> NodeState:
        """Write deltas with last-read values; return the state that it leads to.

        Raises:
            StaleRevision: somebody else wrote for this node; read its state again.
            StoreAway: nothing was written.
            OutcomeUnknown: the connection was lost during COMMIT; the state says what became of it.
        """

        def work(connection: Connection) -> NodeState:
            after = self._advance(connection, node, known, write.state)
            # In the order of the primary keys, here and below: rows side by side are on the same pages.
            rows = sorted(write.rows, key=lambda row: (row.start, row.kind, row.key))
            self._add(connection, [_values(node, _MINUTE, row) for row in rows])
            self._remember(connection, node, write)
            return after

        return self._transaction(work)

    def close_hours(self, node: str, known: NodeState, until: int, close: Close) -> NodeState:
        """Roll up everything before `until`, the start of an hour, and chain the hours; raises as `write` does."""

        def work(connection: Connection) -> NodeState:
            after = self._advance(
                connection, node, known, NodeState(0, known.written_at, known.bucket, max(known.closed, until))
            )
            if until > known.closed:
                for resolution, source in ((300, 60), (3600, 60)):
                    self._roll(connection, node, resolution, source, known.closed, until)
                self._roll(connection, node, 86400, 3600, known.closed - known.closed % 86400, until - until % 86400)
                self._chain(connection, node, known.closed, until, close)
            return after

        return self._transaction(work)

    def prune(self, node: str, before: Mapping[int, int]) -> int:
        """Delete rows of each resolution that are older; return how many. The chain stays: it is the checkpoint."""

        def work(connection: Connection) -> int:
            count = 0
            for resolution, start in before.items():
                old = and_(usage.c.resolution == resolution, usage.c.node == node, usage.c.start < start)
                count += connection.execute(delete(usage).where(old)).rowcount
            return count

        return self._transaction(work)

    def _advance(self, connection: Connection, node: str, known: NodeState, wanted: NodeState) -> NodeState:
        after = NodeState(known.sequence + 1, wanted.written_at, wanted.bucket, max(known.closed, wanted.closed))
        values = {
            "sequence": after.sequence,
            "written_at": after.written_at,
            "bucket": after.bucket,
            "closed": after.closed,
        }
        if known.sequence == 0:
            there = connection.execute(select(usage_nodes.c.node).where(usage_nodes.c.node == node)).first()
            if there is None:
                connection.execute(insert(usage_nodes).values(node=node, **values))
                return after
        same = and_(usage_nodes.c.node == node, usage_nodes.c.sequence == known.sequence)
        if connection.execute(update(usage_nodes).where(same).values(values)).rowcount != 1:
            raise StaleRevision(f"the ledger of {node} is not at {known.sequence} any more")
        return after

    def _add(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        self._execute(connection, self._add_usage, rows)

    def _remember(self, connection: Connection, node: str, write: LedgerWrite) -> None:
        values = [
            {"node": node, "file": file, "kind": kind, "key": key, "amounts": _encode(amounts)}
            for (file, kind, key), amounts in sorted(write.positions.items(), key=itemgetter(0))
        ]
        self._execute(connection, self._set_positions, values)
        for file, kind, key in write.gone:
            table = usage_positions.c
            same = and_(table.node == node, table.file == file, table.kind == kind, table.key == key)
            connection.execute(delete(usage_positions).where(same))

    @cached_property
    def _add_usage(self) -> Compiled:
        made = self._insert(usage)
        new = made.excluded
        changes: dict[str, Any] = {name: usage.c[name] + new[name] for name in USAGE_AMOUNTS}
        greatest = func.max if self._engine.dialect.name == "sqlite" else func.greatest
        changes["open_peak"] = greatest(usage.c.open_peak, new.open_peak)
        changes["covers_from"] = func.coalesce(usage.c.covers_from, new.covers_from)
        return self._compiled(made.on_conflict_do_update(index_elements=list(usage.primary_key.columns), set_=changes))

    @cached_property
    def _set_positions(self) -> Compiled:
        made, keys = self._insert(usage_positions), list(usage_positions.primary_key.columns)
        return self._compiled(made.on_conflict_do_update(index_elements=keys, set_={"amounts": made.excluded.amounts}))

    def _compiled(self, statement: Any) -> Compiled:
        compiled: Compiled = statement.compile(dialect=self._engine.dialect)
        return compiled

    @staticmethod
    def _execute(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
        """Give a statement and its many rows to the driver as they are: numbers and text that need no conversion.

        It is done each second, and to prepare each row costs more than to write it.
        """
        if rows:
            order = itemgetter(*statement.positiontup) if statement.positional else None
            connection.exec_driver_sql(statement.string, [order(row) for row in rows] if order else list(rows))

    def _insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT; both dialects have it, and no common one."""
        return sqlite.insert(table) if self._engine.dialect.name == "sqlite" else postgresql.insert(table)

    @staticmethod
    def _roll(connection: Connection, node: str, resolution: int, source: int, begin: int, end: int) -> None:
        """Sum a resolution's rows up from a finer one's, for every bucket between two times."""
        if end <= begin:
            return
        start = usage.c.start - usage.c.start % resolution
        same = ("node", "kind", "key", "tenant")
        wanted = select(
            literal(resolution), start, *(usage.c[name] for name in same),
            *(func.sum(usage.c[name]) for name in USAGE_AMOUNTS),
            func.max(usage.c.open_peak), func.min(usage.c.covers_from),
        ).where(
            usage.c.resolution == source, usage.c.node == node, usage.c.start >= begin, usage.c.start < end
        ).group_by(start, *(usage.c[name] for name in same))  # fmt: skip
        columns = ["resolution", "start", *same, *USAGE_AMOUNTS, "open_peak", "covers_from"]
        made: Insert = insert(usage).from_select(columns, wanted)
        connection.execute(made)

    @staticmethod
    def _chain(connection: Connection, node: str, begin: int, end: int, close: Close) -> None:
        newest = select(usage_hours).where(usage_hours.c.node == node).order_by(usage_hours.c.sequence.desc()).limit(1)
        row = connection.execute(newest).mappings().first()
        before = ClosedHour(**row) if row is not None else None
        hours = select(usage.c.start).distinct().where(
            usage.c.resolution == 3600, usage.c.node == node, usage.c.start >= begin, usage.c.start < end
        )  # fmt: skip
        for start in sorted(connection.execute(hours).scalars()):
            rows = _rows(connection, [usage.c.resolution == 3600, usage.c.node == node, usage.c.start == start])
            before = close(start, rows, before)
            connection.execute(insert(usage_hours).values(**{name: getattr(before, name) for name in _HOUR_COLUMNS}))

    def _transaction(self, work: Callable[[Connection], _Result]) -> _Result:
        with translated(), self._engine.connect().execution_options(**WRITES) as connection:
            transaction = connection.begin()
            try:
                result = work(connection)
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except DBAPIError as error:
                if self._engine.dialect.name == "postgresql" and error.connection_invalidated:
                    raise OutcomeUnknown(f"the connection was lost during COMMIT: {reason(error)}") from error
                raise
            return result

    # --- readers ---

    def nodes(self) -> dict[str, NodeState]:
        """Every node that has a ledger here, and how far it is."""
        with translated(), self._engine.connect() as connection:
            found = connection.execute(select(usage_nodes))
            return {each.node: NodeState(each.sequence, each.written_at, each.bucket, each.closed) for each in found}

    def hours(self, node: str, begin: int = 0, end: int = 1 << 62) -> list[ClosedHour]:
        """A node's closed hours, oldest first."""
        table = usage_hours.c
        wanted = select(usage_hours).where(table.node == node, table.start >= begin, table.start < end)
        with translated(), self._engine.connect() as connection:
            found = connection.execute(wanted.order_by(table.sequence)).mappings()
            return [ClosedHour(**each) for each in found]

    def rows(self, node: str, resolution: int, start: int) -> list[UsageRow]:
        """All rows of one bucket of a node."""
        with translated(), self._engine.connect() as connection:
            return _rows(
                connection,
                [usage.c.resolution == resolution, usage.c.node == node, usage.c.start == start],
            )

    def sums(
        self,
        pieces: Iterable[tuple[str, int, int, int]],
        kind: int,
        *,
        every: int | None = None,
        tenant: str | None = None,
    ) -> list[UsageRow]:
        """Sums by node, key and tenant over pieces of time (node, resolution, begin, end).

        With `every` also by time, in steps of so many seconds: the `start` of a row is then its step's. Some rows may
        come in several parts, one for each piece.
        """
        found: list[UsageRow] = []
        with translated(), self._engine.connect() as connection:
            for node, resolution, begin, end in pieces:
                found += _sums(connection, (node, resolution, begin, end), kind, every, tenant)
        return found

    def oldest(self, node: str) -> Mapping[int, int]:
        """The first bucket that is there of each resolution."""
        found: dict[int, int] = {}
        with translated(), self._engine.connect() as connection:
            for resolution in _RESOLUTIONS:
                # In the order of the primary key, so the first one ends the search; min() would read a year of hours.
                wanted = select(usage.c.start).where(usage.c.resolution == resolution, usage.c.node == node)
                first = connection.execute(wanted.order_by(usage.c.start).limit(1)).scalar()
                if first is not None:
                    found[resolution] = first
        return found


_HOUR_COLUMNS: Final = tuple(column.name for column in usage_hours.columns)


def _values(node: str, resolution: int, row: UsageRow) -> dict[str, Any]:
    return {
        "resolution": resolution,
        "start": row.start,
        "node": node,
        "kind": row.kind,
        "key": row.key,
        "tenant": row.tenant,
        **{name: row.amounts.get(name, 0) for name in USAGE_AMOUNTS},
        "open_peak": row.open_peak,
        "covers_from": row.covers_from,
    }


def _rows(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> list[UsageRow]:
    found = connection.execute(select(usage).where(*conditions)).mappings()
    return [
        UsageRow(
            each["start"], each["kind"], each["key"], each["tenant"],
            {name: each[name] for name in USAGE_AMOUNTS if each[name]},
            each["open_peak"], each["covers_from"], each["node"],
        )
        for each in found
    ]  # fmt: skip


def _sums(
    connection: Connection, piece: tuple[str, int, int, int], kind: int, every: int | None, tenant: str | None
) -> list[UsageRow]:
    node, resolution, begin, end = piece
    step: Any = usage.c.start - usage.c.start % every if every is not None else literal(begin)
    groups = [usage.c.key, usage.c.tenant, *([step] if every is not None else [])]
    wanted = select(
        step.label("step"), usage.c.key, usage.c.tenant,
        *(func.sum(usage.c[name]).label(name) for name in USAGE_AMOUNTS),
        func.max(usage.c.open_peak).label("open_peak"), func.min(usage.c.covers_from).label("covers_from"),
    ).where(
        usage.c.resolution == resolution, usage.c.start >= begin, usage.c.start < end,
        usage.c.node == node, usage.c.kind == kind,
    ).group_by(*groups)  # fmt: skip
    if tenant is not None:
        wanted = wanted.where(usage.c.tenant == tenant)
    return [
        UsageRow(
            int(each["step"]), kind, each["key"], each["tenant"],
            {name: int(each[name]) for name in USAGE_AMOUNTS if each[name]},
            int(each["open_peak"]), each["covers_from"], node,
        )
        for each in connection.execute(wanted).mappings()
    ]  # fmt: skip
