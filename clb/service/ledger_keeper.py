"""The one writer of a node's durable ledger: each second what was counted, each hour a link of its chain.

Owns:      when it is written, whose tenant's it is, what is told of an outage, the closing of hours, pruning.
Elsewhere: readings (counter_deltas.py); amounts, buckets and hashes (metering/usage.py); tables (store/ledger.py).
Shell:     one task on the loop of the control process; files and database in a thread.

Nothing that was counted is lost while the database is away: it stays in the counter files and is written once the
database answers, into the minute of that time, with `covers_from` saying since when.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clb.certificates.keyring import Signer
from clb.config.models import Config
from clb.config.node import Ledger
from clb.control.events import EventHistory
from clb.metering.cells import listener_key
from clb.metering.counter_fields import OTHER, Kind, stored_key
from clb.metering.usage import (
    DAY,
    FIVE_MINUTES,
    GENESIS,
    HOUR,
    MINUTE,
    Row,
    added,
    bucket,
    chained,
    digest_of,
    evaluations,
    net,
    requests_of,
)
from clb.observe.logging import fields
from clb.service.counter_deltas import CounterDeltas, Position, Reading
from clb.store.interface import OutcomeUnknown, StaleRevision, StoreFault
from clb.store.ledger import ClosedHour, LedgerTables, LedgerWrite, NodeState, UsageRow

SECOND: Final = 1.0
RETRY_S: Final = 2.0
LATE_S: Final = 2 * MINUTE
"""What could not be written for so long is marked with `covers_from`."""
_SHARE: Final = 10
"""One part in so many of the time goes into it, however large the files are."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Listeners:
    """What of the configuration a row needs."""

    tenants: Mapping[str, str]
    """By listener."""
    rules: Mapping[str, int]
    """How many, by listener."""

    @classmethod
    def of(cls, config: Config) -> _Listeners:
        tenants, rules = {}, {}
        for balancer in config.load_balancers:
            for listener in balancer.listeners:
                key = stored_key(Kind.LISTENER, listener_key(balancer.name, listener.name))
                tenants[key] = balancer.labels.get("tenant", "")
                rules[key] = len(listener.rules)
        return cls(tenants, rules)


class LedgerKeeper:
    """One in the control process."""

    def __init__(
        self,
        tables: Callable[[], LedgerTables],
        counters: Path,
        config: Callable[[], Config],
        events: EventHistory,
        *,
        signer: Callable[[], Signer | None] = lambda: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._tables = tables
        """Raises StoreFault while there is no database."""
        self._deltas = CounterDeltas(counters)
        self._config = config
        self._events = events
        self._signer = signer
        self._wall = wall
        self._state: NodeState | None = None
        """None: to be read."""
        self._positions: dict[Position, dict[str, int]] = {}
        self._of: tuple[Config, _Listeners] | None = None
        self._was_away = False
        self._busy_s = 0.0
        """CPU time of the last look, that of the database's driver with it."""

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            begun = time.monotonic()
            is_written = await self.write()
            took = time.monotonic() - begun
            await asyncio.sleep(max(SECOND - took, self._busy_s * _SHARE if is_written else RETRY_S))

    async def write(self) -> bool:
        """Write down what was counted; whether the database took it."""
        try:
            await asyncio.to_thread(self._write)
        except (StoreFault, OSError) as fault:
            self._tell_away(fault)
            return False
        if self._was_away:
            self._was_away = False
            _logger.info("the ledger is written again")
            self._events.add("ledger_back", "it is written again", "ledger")
        return True

    def close(self) -> None:
        """Let go of the counter files."""
        self._deltas.close()

    # --- in a thread ---

    def _write(self) -> None:
        begun = time.thread_time()
        self._look()
        self._busy_s = time.thread_time() - begun

    def _look(self) -> None:
        tables, node = self._tables(), self._config().node.name
        if self._state is None:
            self._state, self._positions = tables.state(node)
            self._deltas.forget()
        now = int(self._wall())
        reading = self._deltas.read(self._positions)
        # Never into what is closed, wherever the clock goes.
        minute = bucket(now, MINUTE, max(self._state.bucket, self._state.closed))
        rows = self._rows(reading, minute, now)
        if rows or reading.positions or reading.gone:
            wanted = NodeState(0, max(now, self._state.written_at), minute, self._state.closed)
            self._commit(tables, node, LedgerWrite(rows, reading.positions, reading.gone, wanted))
            self._positions.update(reading.positions)
            for position in reading.gone:
                self._positions.pop(position, None)
            self._deltas.written(reading)
            if reading.fell:
                _logger.warning("counters are lower than they were", extra=fields(names=sorted(set(reading.fell))[:10]))
        self._close_hours(tables, node, now)

    def _commit(self, tables: LedgerTables, node: str, write: LedgerWrite) -> None:
        assert self._state is not None
        try:
            self._state = tables.write(node, self._state, write)
        except (StaleRevision, OutcomeUnknown) as fault:
            # Somebody else wrote, or nobody knows whether we did: what is written down says it.
            self._state = None
            raise StoreFault(f"the ledger is read again: {fault}") from fault

    def _rows(self, reading: Reading, minute: int, now: int) -> list[UsageRow]:
        assert self._state is not None
        known = self._known()
        is_late = self._state.written_at and now - self._state.written_at > LATE_S
        covers_from = self._state.written_at if is_late else None
        is_open = self._deltas.open_connections()
        rows = []
        for (kind, name), growth in reading.growth.items():
            listener = name.partition(" ")[0] if name != OTHER else OTHER
            amounts = dict(growth)
            if asked := requests_of(growth):
                amounts["rule_evaluations"] = evaluations(asked, known.rules.get(listener, 0))
            peak = is_open.pop(name, 0) if kind is Kind.LISTENER else 0
            rows.append(UsageRow(minute, int(kind), name, known.tenants.get(listener, ""), amounts, peak, covers_from))
        # Connections that say nothing are open all the same; once in a minute is enough to know.
        if minute != self._state.bucket:
            rows += [
                UsageRow(minute, int(Kind.LISTENER), name, known.tenants.get(name, ""), {}, count)
                for name, count in is_open.items()
            ]
        return rows

    def _known(self) -> _Listeners:
        config = self._config()
        if self._of is None or self._of[0] is not config:
            self._of = (config, _Listeners.of(config))
        return self._of[1]

    # --- each hour ---

    def _close_hours(self, tables: LedgerTables, node: str, now: int) -> None:
        assert self._state is not None
        until = now - now % HOUR
        # The minute that is written to may be later than the clock, but never earlier than what is closed.
        if until <= self._state.closed or self._state.sequence == 0:
            return
        try:
            self._state = tables.close_hours(node, self._state, until, self._link(node, now))
        except (StaleRevision, OutcomeUnknown) as fault:
            self._state = None
            raise StoreFault(f"the ledger is read again: {fault}") from fault
        kept = self._config().ledger
        pruned = tables.prune(node, _before(kept, now))
        _logger.info("an hour was closed", extra=fields(until=until, pruned=pruned))

    def _link(self, node: str, now: int) -> Callable[[int, list[UsageRow], ClosedHour | None], ClosedHour]:
        signer = self._signer()

        def close(start: int, rows: list[UsageRow], before: ClosedHour | None) -> ClosedHour:
            return closed_hour(node, start, rows, before, now, signer)

        return close

    def _tell_away(self, fault: Exception) -> None:
        if not self._was_away:
            self._was_away = True
            _logger.warning(
                "the ledger cannot be written; what is counted stays in its files", extra=fields(error=str(fault))
            )
            self._events.add("ledger_away", str(fault), "ledger")


def closed_hour(
    node: str, start: int, rows: list[UsageRow], before: ClosedHour | None, now: int, signer: Signer | None
) -> ClosedHour:
    """The link of an hour, signed if there is something to sign with."""
    digest = digest_of(node, start, [as_row(each) for each in rows])
    sequence = before.sequence + 1 if before is not None else 1
    chain = chained(before.chain if before is not None else GENESIS, sequence, digest)
    total = added(each.amounts for each in rows if each.kind == Kind.LISTENER)
    figures = net(total)
    return ClosedHour(
        node=node,
        sequence=sequence,
        start=start,
        rows=len(rows),
        digest=digest,
        chain=chain,
        residual_in=figures.residual_in,
        residual_out=figures.residual_out,
        residuals=total.get("residuals", 0),
        closed_at=now,
        key_id=signer.key_id if signer is not None else None,
        public_key=signer.public_key.hex() if signer is not None else None,
        signature=signer.sign(chain.encode("ascii")).hex() if signer is not None else None,
    )


def as_row(row: UsageRow) -> Row:
    """A record of the store as what it means."""
    return Row(Kind(row.kind), row.key, row.tenant, row.amounts, row.open_peak, row.covers_from)


def _before(kept: Ledger, now: int) -> dict[int, int]:
    """Which rows of each resolution are too old. Nothing goes that is not rolled up yet."""
    today = now - now % DAY
    return {
        MINUTE: min(now - int(kept.minutes), now - now % HOUR),
        FIVE_MINUTES: now - int(kept.five_minutes),
        HOUR: min(now - int(kept.hours), today),
        DAY: now - int(kept.days),
    }
