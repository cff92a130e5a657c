"""The writer of the durable ledger: nothing twice, nothing lost, whoever fails or is killed between which two steps."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clb.certificates.keyring import Keyring, new_secret
from clb.config.models import Config
from clb.control.events import EventHistory
from clb.metering.counter_fields import FIELDS, OTHER, Kind, field_index
from clb.metering.counter_file import compact, open_counter_file
from clb.metering.counter_reader import CounterReader
from clb.metering.usage import AMOUNTS, added, amounts_of, evaluations
from clb.service.ledger_keeper import LedgerKeeper
from clb.store.database import prepare_store
from clb.store.interface import OutcomeUnknown, StoreAway
from clb.store.ledger import LedgerTables

HOUR = 3600
BEGIN = 500_000 * HOUR
LISTENERS = ("shop/https", "shop/http", "blog/https")
RULES = tuple(f"{listener} {domain}/" for listener in LISTENERS for domain in ("a.test", "b.test"))
TARGETS = tuple(f"{rule} 10.0.0.{number}:80" for rule in RULES for number in (1, 2))
SOME = {
    Kind.LISTENER: (
        "wire_in",
        "wire_out",
        "unsent_wire_out",
        "billed_in",
        "connections",
        "failed_timeout",
        "requests_4xx",
    ),
    Kind.RULE: ("billed_in", "billed_out", "unsent_billed_out", "requests_3xx"),
    Kind.TARGET: ("billed_in", "billed_out", "requests_2xx", "requests_none"),
}
NAMES = {Kind.LISTENER: LISTENERS, Kind.RULE: RULES, Kind.TARGET: TARGETS}
CONFIG = Config.model_validate(
    {
        "node": {"name": "node-1"},
        # Sums of minutes are compared with counters: none of them may go meanwhile.
        "ledger": {"minutes": "400d", "five_minutes": "400d"},
        "load_balancers": (
            {"name": "shop", "labels": {"tenant": "acme"}, "listeners": ({"name": "https", "certificate": "a"},)},
        ),
    }
)


class Site:
    """Counter files, a database, and a writer that can be told to fail."""

    def __init__(self, directory: Path, workers: int = 2) -> None:
        self.counters = directory / "counters"
        self.counters.mkdir()
        self.files = [open_counter_file(self.counters, pytest.fail) for _ in range(workers)]
        self.database = prepare_store(None, directory)
        self.now = BEGIN
        self.fault: str | None = None
        self.ring = Keyring.from_secret(new_secret())
        self.events = EventHistory(lambda: self.now)
        self.keeper = self.new_keeper()

    def new_keeper(self) -> LedgerKeeper:
        return LedgerKeeper(
            self.tables, self.counters, lambda: CONFIG, self.events, signer=lambda: self.ring.signer,
            wall=lambda: self.now,
        )  # fmt: skip

    def tables(self) -> LedgerTables:
        if self.fault == "away":
            raise StoreAway("it is away")
        return Failing(self.database.ledger, self)  # type: ignore[return-value]

    def count(self, worker: int, kind: Kind, key: str, name: str, number: int) -> None:
        record = self.files[worker].record(kind, key)
        assert record is not None
        record[field_index(kind, name)] += number

    def write(self) -> bool:
        return asyncio.run(self.keeper.write())

    def crash(self) -> None:
        """Another control process takes over; what the first had in memory is gone."""
        self.keeper.close()
        self.keeper = self.new_keeper()

    def compact(self, worker: int, used: list[tuple[Kind, str]]) -> None:
        self.files[worker] = compact(self.files[worker], used)

    def written(self, kind: Kind) -> dict[str, dict[str, int]]:
        """Sums of all minutes, by name."""
        found: dict[str, dict[str, int]] = {}
        for row in self.database.ledger.sums([("node-1", 60, 0, 1 << 60)], kind):
            found[row.key] = added([found.get(row.key, {}), row.amounts])
        return found

    def counted(self, kind: Kind) -> dict[str, dict[str, int]]:
        reader = CounterReader(self.counters)
        totals = reader.read()
        reader.close()
        return {
            key: amounts_of(counts)
            for key, counts in (totals.listeners if kind is Kind.LISTENER else totals.rules).items()
        }

    def close(self) -> None:
        self.keeper.close()
        self.database.close()
        for file in self.files:
            file.close()


class Failing:
    """Tables of which one write fails: before it, or behind the commit."""

    def __init__(self, tables: LedgerTables, site: Site) -> None:
        self._tables, self._site = tables, site

    def __getattr__(self, name: str):
        real = getattr(self._tables, name)
        if name not in ("write", "close_hours"):
            return real

        def called(*args):
            fault, self._site.fault = self._site.fault, None
            if fault == "before":
                raise StoreAway("before")
            result = real(*args)
            if fault == "behind":
                raise OutcomeUnknown("behind")
            return result

        return called


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def same(left, right):
    """Whether sums are the same, whatever is 0; evaluations are of the writer alone."""

    def plain(sums):
        return {
            key: kept
            for key, amounts in sums.items()
            if (kept := {name: count for name, count in amounts.items() if count and name != "rule_evaluations"})
        }

    assert plain(left) == plain(right)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 1 << 30)),
        st.tuples(st.just("count"), st.integers(0, 1 << 30)),
        st.tuples(st.just("write"), st.sampled_from([None, None, "before", "behind", "away"])),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("compact"), st.integers(0, 1 << 30)),
        st.tuples(st.just("wait"), st.sampled_from([1, 61, 3601, -90, 90_000])),
        st.tuples(st.just("another"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
@example(steps=[("count", 434), ("count", 1880), ("write", None), ("compact", 253)])
def test_what_is_counted_is_written_exactly_once(tmp_path_factory, steps):
    site = Site(tmp_path_factory.mktemp("ledger"))
    other = site.new_keeper()
    removed: set[str] = set()
    is_stale = False
    try:
        for what, value in steps:
            if what == "count":
                chosen = random.Random(value)
                kind = chosen.choice(list(SOME))
                key = chosen.choice(NAMES[kind])
                site.count(chosen.randrange(2), kind, key, chosen.choice(SOME[kind]), chosen.randrange(1, 1000))
            elif what == "write":
                site.fault = value
                is_written = site.write()
                # Who finds that another one wrote reads the state again, and writes the next time.
                if not is_stale:
                    assert is_written == (value is None or (value != "away" and site.fault is not None))
                is_stale = is_stale and value == "away"
                site.fault = None
            elif what == "crash":
                site.crash()
                is_stale = False
            elif what == "compact":
                chosen = random.Random(value)
                gone = set(chosen.sample(TARGETS + RULES, 6))
                used = [(kind, key) for kind, keys in NAMES.items() for key in keys if key not in gone]
                site.compact(chosen.randrange(2), used)
                removed |= gone
            elif what == "wait":
                site.now += value
            else:
                asyncio.run(other.write())
                is_stale = True
        for _ in range(3):
            site.write()
        assert site.write()
        # A rule that is gone keeps what was written of it; all of them together are what was counted.
        listeners, rules = site.written(Kind.LISTENER), site.written(Kind.RULE)
        same(listeners, site.counted(Kind.LISTENER))
        billed = ("billed_in", "billed_out", "unsent_billed_out")
        totals = [added(sums.values()) for sums in (rules, site.counted(Kind.RULE))]
        written, counted = ({name: each.get(name, 0) for name in billed} for each in totals)
        assert written == counted
        if not removed:
            same(rules, site.counted(Kind.RULE))
    finally:
        other.close()
        site.close()


def test_tenants_and_evaluations(site):
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 5)
    site.count(0, Kind.TARGET, TARGETS[0], "requests_2xx", 3)
    site.count(0, Kind.LISTENER, OTHER, "wire_in", 2)
    assert site.write()
    rows = site.database.ledger.rows("node-1", 60, BEGIN)
    assert {(each.kind, each.key): each.tenant for each in rows} == {
        (Kind.LISTENER, "shop/https"): "acme",
        (Kind.LISTENER, OTHER): "",
        (Kind.RULE, RULES[0]): "acme",
    }
    assert site.written(Kind.RULE)[RULES[0]]["rule_evaluations"] == evaluations(3, 0)


def test_open_connections_have_their_peak_also_where_nothing_is_said(site):
    site.count(0, Kind.LISTENER, "shop/https", "connections", 7)
    site.count(1, Kind.LISTENER, "shop/https", "connections", 2)
    assert site.write()
    site.now += 120
    site.count(0, Kind.LISTENER, "shop/http", "wire_in", 1)
    assert site.write()
    assert [each.open_peak for each in site.database.ledger.rows("node-1", 60, BEGIN)] == [9]
    later = {each.key: each.open_peak for each in site.database.ledger.rows("node-1", 60, BEGIN + 120)}
    assert later == {"shop/https": 9, "shop/http": 0}


def test_late_bytes_say_since_when(site):
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 5)
    assert site.write()
    site.now += 600
    site.fault = "away"
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 6)
    assert not site.write()
    assert not site.write()
    site.fault = None
    site.now += 60
    assert site.write()
    (row,) = site.database.ledger.rows("node-1", 60, BEGIN + 660)
    assert (row.amounts, row.covers_from) == ({"wire_in": 6}, BEGIN)
    kinds = [each.kind for each in site.events.after(0, 10)]
    assert kinds == ["ledger_away", "ledger_back"]


def test_hours_close_and_never_open_again(site):
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 5)
    assert site.write()
    site.now += HOUR
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 6)
    assert site.write()
    site.now -= HOUR  # The clock is set back.
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 7)
    assert site.write()
    hours = site.database.ledger.hours("node-1")
    assert [(each.start, each.rows, each.residual_in) for each in hours] == [(BEGIN, 1, 5)]
    assert site.database.ledger.rows("node-1", 60, BEGIN + HOUR)[0].amounts == {"wire_in": 13}
    signed = hours[0]
    assert signed.key_id == site.ring.current
    assert bytes.fromhex(signed.public_key or "") == site.ring.public_key(site.ring.current)
    assert site.ring.public_key("k1-none") is None


def test_a_counter_that_fell_takes_nothing_back_and_goes_on(site, caplog, monkeypatch):
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 50)
    assert site.write()
    site.crash()
    # After a power cut the file has an older number, and the machine has booted again.
    record = site.files[0].record(Kind.LISTENER, "shop/https")
    record[field_index(Kind.LISTENER, "wire_in")] = 20
    site.files[0].close()
    monkeypatch.setattr("clb.metering.counter_file._boot_id", lambda: b"another boot id.")
    site.files[0] = open_counter_file(site.counters, pytest.fail)
    assert site.write()
    assert "lower than they were" in caplog.text
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 3)
    assert site.write()
    assert site.written(Kind.LISTENER)["shop/https"] == {"wire_in": 53}


def test_a_rule_that_goes_and_comes_back_between_two_looks_is_counted_once(site, caplog):
    site.count(0, Kind.TARGET, TARGETS[0], "billed_in", 50)
    assert site.write()
    site.compact(0, [])
    site.count(0, Kind.TARGET, TARGETS[0], "billed_in", 20)
    assert site.write()
    assert added(site.written(Kind.RULE).values())["billed_in"] == 70
    assert "lower than they were" not in caplog.text


def test_a_rule_that_goes_while_its_target_stays_is_counted_once(site, caplog):
    site.count(0, Kind.TARGET, TARGETS[0], "billed_in", 50)
    site.count(0, Kind.RULE, RULES[0], "billed_in", 30)
    assert site.write()
    site.compact(0, [(Kind.TARGET, TARGETS[0])])
    assert site.write()
    assert added(site.written(Kind.RULE).values())["billed_in"] == 80
    assert "lower than they were" not in caplog.text


def test_a_file_that_is_gone_and_one_that_is_new(site):
    site.count(1, Kind.LISTENER, "shop/https", "wire_in", 5)
    assert site.write()
    site.files[1].close()
    (site.counters / "worker-1.counters").unlink()
    site.files[1] = open_counter_file(site.counters, pytest.fail)
    site.count(1, Kind.LISTENER, "shop/https", "wire_in", 4)
    assert site.write()
    assert site.written(Kind.LISTENER)["shop/https"] == {"wire_in": 9}


def test_a_locked_database_is_waited_for(site, tmp_path):
    site.count(0, Kind.LISTENER, "shop/https", "wire_in", 5)
    lock = sqlite3.connect(tmp_path / "clb.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        assert not site.write()
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    assert site.write()
    assert site.written(Kind.LISTENER)["shop/https"] == {"wire_in": 5}


def test_every_amount_comes_from_a_counter():
    counts = dict.fromkeys(FIELDS[Kind.LISTENER], 1)
    assert set(amounts_of(counts)) == set(AMOUNTS) - {"rule_evaluations"}
