"""The durable ledger of a whole node whose workers and control process are killed under load, with reloads between.

(a) What is in the database in the end is what is in the counter files, to the byte, in every amount.
(b) What clients had is in it. (c) Connections that were open at a kill are the only difference to it: the answers that
were under way, of which the test prints how many bytes they were.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from clb_process import ClbProcess
from real_server import OK, WAIT_S, RealServer
from tls_material import TlsMaterial
from visitors import AT_MOST_UNDER_WAY, REQUEST, Visitors

from clb.metering.counter_fields import Kind
from clb.metering.counter_reader import CounterReader
from clb.metering.usage import AMOUNTS, amounts_of
from clb.service.restarts import RestartPolicy

PAUSE_S = (0.2, 0.7)
KILLS_IN_A_ROW = 8
"""Who dies more often without having served for a while is in a loop, and the supervisor ends (restarts.py)."""
REST_S = RestartPolicy().short_life_s + 1
LISTENERS = ("lb/https", "lb/http")


def closing_database(state: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"file:{state / 'clb.db'}?mode=ro", uri=True, timeout=WAIT_S))


def wait_for_the_ledger(state: Path) -> None:
    """Whoever makes the database must have had the time for it; what is killed before that comes to nothing."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with suppress(sqlite3.OperationalError):
            if written(state, Kind.LISTENER):
                return
        time.sleep(0.1)
    raise AssertionError("nothing was written")


def written(state: Path, kind: Kind) -> dict[str, dict[str, int]]:
    """Sums of all minutes, by name."""
    sums = ",".join(f"sum({name})" for name in AMOUNTS)
    asked = f"select key, {sums} from usage where resolution = 60 and kind = ? group by key"
    with closing_database(state) as database:
        found = database.execute(asked, (int(kind),)).fetchall()
    return {key: plain(dict(zip(AMOUNTS, values, strict=True))) for key, *values in found}


def counted(state: Path, kind: Kind) -> dict[str, dict[str, int]]:
    reader = CounterReader(state / "counters")
    totals = reader.read()
    reader.close()
    assert totals.faults == []
    table = totals.listeners if kind is Kind.LISTENER else totals.rules
    return {key: found for key, counts in table.items() if (found := plain(amounts_of(counts)))}


def plain(amounts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in amounts.items() if count and name != "rule_evaluations"}


def kill_somebody(clb: ClbProcess, chosen: random.Random) -> str:
    """One of the workers or the control process; or a reload in place of it."""
    victims = [("worker", pid) for pid in clb.workers()] + [("control", clb.control()), ("reload", clb.pid)]
    what, pid = chosen.choice([(what, pid) for what, pid in victims if pid])
    if what == "reload":
        clb.file.touch()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP if what == "reload" else signal.SIGKILL)
    return what


def settled(state: Path) -> None:
    """Wait until the database has what the files have."""
    until = time.monotonic() + 2 * WAIT_S
    while any(written(state, kind) != counted(state, kind) for kind in (Kind.LISTENER, Kind.RULE)):
        assert time.monotonic() < until, (written(state, Kind.LISTENER), counted(state, Kind.LISTENER))
        time.sleep(0.2)


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_nothing_is_lost_and_nothing_counted_twice(
    material: TlsMaterial, tmp_path: Path, closing: ExitStack, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1 << 30)
    chosen = random.Random(seed)
    targets = [closing.enter_context(RealServer()).port for _ in range(2)]
    listeners = [{"protocol": protocol, "targets": targets} for protocol in ("https", "http")]
    clb = closing.enter_context(ClbProcess(material, tmp_path, node={"workers": 2}, listeners=listeners))
    state = tmp_path / "state"
    context = material.client_context()
    visitors = {"lb/https": Visitors(clb.ports["https"], context), "lb/http": Visitors(clb.ports["http"], None)}
    wait_for_the_ledger(state)
    done: dict[str, int] = {}
    while sum(done.values()) - done.get("reload", 0) < kills:
        time.sleep(chosen.uniform(*PAUSE_S))
        what = kill_somebody(clb, chosen)
        done[what] = done.get(what, 0) + 1
        if what != "reload":
            visitors["lb/http"].wait_for(50)
            killed = sum(done.values()) - done.get("reload", 0)
            if killed % KILLS_IN_A_ROW == 0 and killed < kills:
                time.sleep(REST_S)
    for each in visitors.values():
        each.wait_for(20)
        each.stop()
    settled(state)
    final = written(state, Kind.LISTENER)
    residuals = {}
    for key, seen in visitors.items():
        sums = final[key]
        assert seen.cut > 0
        assert seen.answers <= sums["requests_2xx"] <= seen.answers + seen.cut
        residuals[key] = sums["billed_out"] - sums.get("unsent_billed_out", 0) - seen.received
        assert 0 <= residuals[key] <= seen.cut * 2 * len(OK)
        assert sums["billed_in"] >= seen.answers * len(REQUEST)
    with capsys.disabled():
        print(f"\nledger after {done} (seed {seed}): open at a kill {residuals} bytes; {AT_MOST_UNDER_WAY} at once")
