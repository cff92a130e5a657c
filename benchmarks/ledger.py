"""What the durable ledger costs: the writer's second with many rules, and a month's statement out of a year of hours.

    python -m benchmarks.ledger [--rules 10000] [--active 500] [--seconds 30] [--listeners 1000] [--days 365]

Owns:      counter files as two workers leave them, a database with a year in it, times of both.
Elsewhere: the other benchmarks (cli.py).

A database of a year of hours for 1,000 listeners is some 4 GB, and takes a few minutes to make.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from sqlalchemy import text

from clb.config.models import Config
from clb.control.events import EventHistory
from clb.control.usage_reports import Asked, statement
from clb.metering.counter_fields import Kind, field_index
from clb.metering.counter_file import CounterFile, open_counter_file
from clb.service.collector import settle
from clb.service.ledger_keeper import LedgerKeeper
from clb.store.database import Database, prepare_store
from clb.store.tables import USAGE_AMOUNTS

NODE = "node-1"
CONFIG = Config.model_validate({"node": {"name": NODE}})
HOUR, DAY = 3600, 86400
BEGIN = 20_000 * DAY
WORKERS = 2


def resident_mib() -> float:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger")
    parser.add_argument("--rules", type=int, default=10_000)
    parser.add_argument("--active", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="clb-ledger-") as directory:
        measure_writer(options, Path(directory))
    with tempfile.TemporaryDirectory(prefix="clb-ledger-") as directory:
        measure_statement(options, Path(directory))


def measure_writer(options: argparse.Namespace, directory: Path) -> None:
    """The writer's look each second, while some rules have traffic."""
    counters = directory / "counters"
    counters.mkdir()
    files = [open_counter_file(counters, sys.exit) for _ in range(WORKERS)]
    keys = [f"shop/https r{number}.example.com/" for number in range(options.rules)]
    before = resident_mib()
    database, now = prepare_store(None, directory), BEGIN
    keeper = LedgerKeeper(
        lambda: database.ledger, counters, lambda: CONFIG, EventHistory(lambda: now), wall=lambda: now
    )  # fmt: skip
    count(files, keys)
    first, _ = timed(lambda: asyncio.run(keeper.write()))
    settle()  # As the control process does once it is built.
    walls, busy = [], []
    for second in range(options.seconds):
        now += 1
        count(files, [keys[(second * options.active + each) % len(keys)] for each in range(options.active)])
        wall, cpu = timed(lambda: asyncio.run(keeper.write()))
        walls.append(wall)
        busy.append(cpu)
    print(f"{options.rules} rules, {WORKERS} counter files, {options.active} rules with traffic each second")
    print(f"  first look       {first:8.1f} ms, all rules are new")
    print(
        f"  a second         {median(walls):8.1f} ms at the median, {max(walls):.1f} at most; CPU {median(busy):.1f} ms"
    )
    print(f"  memory           {resident_mib() - before:8.1f} MiB more than without")
    keeper.close()
    database.close()


def count(files: Sequence[CounterFile], keys: Sequence[str]) -> None:
    """Some traffic for each rule, in each worker."""
    place = field_index(Kind.RULE, "billed_in")
    for file in files:
        for key in keys:
            record = file.record(Kind.RULE, key)
            assert record is not None
            record[place] += 100


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time in milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def measure_statement(options: argparse.Namespace, directory: Path) -> None:
    """A month by listener, by load balancer and in days."""
    database = prepare_store(None, directory)
    end = BEGIN + options.days * DAY
    fill(database, options, end)
    print(f"{options.days} days of hours and days for {options.listeners} listeners, SQLite")
    begin = end - 45 * DAY
    month = begin, begin + 30 * DAY
    ragged = begin + 5 * HOUR, begin + 30 * DAY + 7 * HOUR
    for name, (first, last), by, every in (
        ("by listener", month, ("listener",), None),
        ("not whole days", ragged, ("listener",), None),
        ("by tenant", month, ("tenant",), None),
        ("in days", month, ("load_balancer",), "day"),
    ):
        asked = Asked(first, last, by, every)
        walls = [timed(lambda asked=asked: statement(database.ledger, asked))[0] for _ in range(5)]  # type: ignore[misc]
        print(f"  {name:16} {median(walls):8.0f} ms")
    database.close()


def fill(database: Database, options: argparse.Namespace, end: int) -> None:
    """Rows as the writer would have made them, put in by the database itself."""
    columns = ("resolution", "start", "node", "kind", "key", "tenant", *USAGE_AMOUNTS, "open_peak")
    amounts = ", ".join("(l.n * 7919 + t.at) % 100000" for _ in USAGE_AMOUNTS)
    for resolution in (HOUR, DAY):
        statement_text = f"""
            WITH RECURSIVE t(at) AS
                   (SELECT {BEGIN} UNION ALL SELECT at + {resolution} FROM t WHERE at + {resolution} < {end}),
                 l(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM l WHERE n + 1 < {options.listeners})
            INSERT INTO usage ({", ".join(columns)})
            SELECT {resolution}, t.at, '{NODE}', {int(Kind.LISTENER)}, 'lb' || printf('%04d', l.n) || '/https',
                   'tenant' || (l.n % 20), {amounts}, 5
            FROM t CROSS JOIN l ORDER BY t.at, l.n"""
        with database.engine.begin() as connection:
            connection.execute(text(statement_text))
    with database.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO usage_nodes (node, sequence, written_at, bucket, closed) VALUES (:n, 1, :e, :e, :e)"),
            {"n": NODE, "e": end},
        )


if __name__ == "__main__":
    main()
