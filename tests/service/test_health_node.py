"""Health in a whole node: what the control process finds out is what both workers do, also after a restart."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import datetime, timedelta

import httpx
import pytest
import yaml
from clb_process import ClbProcess
from live_proxy import rule
from real_server import OK, WAIT_S, RealServer

FAST = {"interval": "200ms", "timeout": "150ms", "healthy": 2, "unhealthy": 2}
ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


def named(name: bytes) -> RealServer:
    return RealServer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))


@pytest.fixture
def servers(closing):
    return {name: closing.enter_context(named(name.encode())) for name in "ab"}


@pytest.fixture
def start(material, tmp_path, closing):
    """Start `clb serve` with two workers; again in the same place if it is called again."""

    def begin(**site):
        node = {"workers": 2, "drain_timeout": "1s"}
        return closing.enter_context(ClbProcess(material, tmp_path, node=node, **site))

    return begin


def targets(clb):
    """Status of the first rule's targets, by port."""
    socket = clb.file.parent / "state" / "control.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://localhost") as client:
        (listener,) = client.get("/v1/status").json()["listeners"]
    return {int(each["target"].rpartition(":")[2]): each for each in listener["rules"][0]["targets"]}


def wait_for(clb, port, state):
    give_up_at = time.monotonic() + WAIT_S
    while (found := targets(clb).get(port, {"state": "gone"}))["state"] != state:
        assert time.monotonic() < give_up_at, (found, clb.lines)
        time.sleep(0.02)
    return found


def bodies(clb, count=24):
    """Who answered so many requests, each on a connection of its own."""
    found = Counter()
    for _ in range(count):
        with clb.connect() as client:
            answer = client.ask()
            found[answer.body.decode() if answer.status == 200 else answer.status] += 1
    return found


def change(clb, edit):
    document = yaml.safe_load(clb.file.read_text())
    edit(document["load_balancers"][0]["listeners"][0]["rules"][0])
    clb.file.write_text(yaml.safe_dump(document))
    clb.signal(signal.SIGHUP)


def test_both_workers_do_what_checks_say(start, servers):
    a, b = servers.values()
    clb = start(rules=[rule(a.port, b.port, health_check=FAST, slow_start="0s", all_dead="refuse")])
    assert set(bodies(clb)) == {"a", "b"}  # Nobody has been proved yet, and clients are served.
    wait_for(clb, a.port, "healthy")
    wait_for(clb, b.port, "healthy")
    a.answer = ERROR
    found = wait_for(clb, a.port, "unhealthy")
    assert found["why"] == "2 probes in a row failed: answered 500, wanted 2xx, 3xx, 4xx"
    assert [change["after"] for change in found["changes"]][-2:] == ["healthy", "unhealthy"]
    assert set(bodies(clb)) == {"b"}
    b.answer = ERROR
    wait_for(clb, b.port, "unhealthy")
    clb.wait_for_line("all targets are out")
    assert set(bodies(clb)) == {503}
    a.answer = OK
    wait_for(clb, a.port, "healthy")
    assert set(bodies(clb)) == {"ok"}


def test_what_workers_see_ejects_for_the_whole_node(start, servers):
    a, b = servers.values()
    passive = {"server_errors": 2, "ejection": "60s"}
    checks = {"health_check": {**FAST, "type": "tcp"}}
    clb = start(rules=[rule(a.port, b.port, passive=passive, slow_start="0s", **checks)])
    wait_for(clb, a.port, "healthy")
    wait_for(clb, b.port, "healthy")
    a.answer = ERROR
    bodies(clb, 60)
    found = wait_for(clb, a.port, "ejected")
    assert found["why"].startswith("ejected for 1m: 2 server errors in a row: answered 500")
    assert (found["ejections"], found["takes_work"]) == (1, False)
    assert set(bodies(clb)) == {"b"}


def test_new_targets_wait_and_states_outlive_a_restart(start, servers):
    a, b = servers.values()
    keys = {"health_check": {**FAST, "healthy": 3}, "slow_start": "0s"}
    clb = start(rules=[rule(a.port, **keys)])
    wait_for(clb, a.port, "healthy")
    b.answer = ERROR
    change(clb, lambda one: one["targets"].append({"address": "127.0.0.1", "port": b.port}))
    wait_for(clb, b.port, "unhealthy")
    assert [change["after"] for change in targets(clb)[b.port]["changes"]] == ["checking", "unhealthy"]
    assert set(bodies(clb)) == {"a"}
    b.answer = OK
    wait_for(clb, b.port, "healthy")
    assert set(bodies(clb)) == {"a", "ok"}
    b.answer = ERROR
    was = wait_for(clb, b.port, "unhealthy")
    clb.__exit__(None)
    again = start(rules=[rule(a.port, b.port, **keys)])
    found = targets(again)
    assert (found[a.port]["state"], found[b.port]["state"]) == ("healthy", "unhealthy")
    assert found[b.port]["why"] == was["why"]
    since, was_since = (datetime.fromisoformat(each["since"]) for each in (found[b.port], was))
    assert abs(since - was_since) < timedelta(seconds=0.01)
    assert set(bodies(again)) == {"a"}
