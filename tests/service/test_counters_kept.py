"""What clients have seen is counted, whatever becomes of the workers that served them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from clb_process import ClbProcess
from real_server import OK, RealServer
from tls_material import TlsMaterial
from visitors import AT_MOST_UNDER_WAY, REQUEST, Visitors

from clb.metering.counter_reader import CounterReader


@pytest.fixture
def node(material: TlsMaterial, tmp_path: Path, closing: ExitStack) -> Callable[..., ClbProcess]:
    return lambda **keys: closing.enter_context(ClbProcess(material, tmp_path, node={"workers": 2}, **keys))


def test_killed_workers_take_nothing_along(
    node: Callable[..., ClbProcess], material: TlsMaterial, closing: ExitStack, tmp_path: Path
) -> None:
    """Each of the two workers is killed under load; whoever looks meanwhile sees no number fall."""
    real_servers = [closing.enter_context(RealServer()) for _ in range(2)]
    targets = [server.port for server in real_servers]
    clb = node(listeners=[{"protocol": protocol, "targets": targets} for protocol in ("https", "http")])
    reader = CounterReader(tmp_path / "state" / "counters")
    closing.callback(reader.close)
    context = material.client_context()
    visitors = {
        "lb/https": Visitors(clb.ports["https"], context),
        "lb/http": Visitors(clb.ports["http"], None),
    }
    last: dict[str, int] = {}
    for worker in clb.workers():
        for each in visitors.values():
            each.wait_for(100)
            assert_nothing_fell(reader, last)
        os.kill(worker, signal.SIGKILL)
    for each in visitors.values():
        each.wait_for(100)
    for each in visitors.values():
        each.stop()
    totals = reader.read()
    assert totals.faults == []
    assert_nothing_fell(reader, last)
    for key, seen in visitors.items():
        listener = totals.listeners[key]
        rules = [counts for name, counts in totals.rules.items() if name.startswith(f"{key} ")]
        assert seen.cut > 0
        for counts in (listener, *rules):
            assert seen.answers <= counts["requests_2xx"] <= seen.answers + AT_MOST_UNDER_WAY
            assert seen.received <= counts["billed_out"] <= seen.received + AT_MOST_UNDER_WAY * 2 * len(OK)
        assert listener["billed_in"] >= seen.answers * len(REQUEST)
        assert listener["wire_out"] >= listener["billed_out"]
        assert len(rules) == 1
    assert totals.node["worker_starts"] == 4
    assert len(list((tmp_path / "state" / "counters").iterdir())) == 2


def assert_nothing_fell(reader: CounterReader, last: dict[str, int]) -> None:
    totals = reader.read()
    now = {
        f"{key} {name}": value
        for table in (totals.listeners, totals.rules, totals.targets)
        for key, counts in table.items()
        for name, value in counts.items()
    }
    assert all(now[name] >= value for name, value in last.items())
    last.update(now)


def test_the_next_start_goes_on_where_this_one_ended(node: Callable[..., ClbProcess], tmp_path: Path) -> None:
    with RealServer() as server:
        counted = []
        for _ in range(2):
            clb = node(protocol="http", targets=[server.port])
            with clb.connect("http") as client:
                client.send(REQUEST)
                assert client.read_answer().status == 200
            clb.signal(signal.SIGTERM)
            assert clb.wait() == 0
            reader = CounterReader(tmp_path / "state" / "counters")
            counted.append(reader.read().listeners["lb/http"]["requests_2xx"])
            reader.close()
    assert counted == [1, 2]
