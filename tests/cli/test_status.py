"""`clb status`: its lines, its JSON, and a node that is not there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from control_lab import NOW, SHOP, Lab
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli.main import app
from clb.cli.status import lines
from clb.control.node import HealthReport, Reload
from clb.control.totals import Latency, ListenerTotals, RuleTotals, TargetTotals
from clb.metering.cells import TargetField, TargetState, target_key

FIRST = target_key(SHOP, "10.0.0.1:80")


def told(lab: Lab, **keys: int) -> str:
    text = "\n".join(lines(lab.get("/v1/status"), datetime.fromtimestamp(lab.now, UTC), **keys))
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Reports:
    def report(self, target: str) -> HealthReport | None:
        return HealthReport("3 probes in a row failed: refused", NOW + 2.5) if target == FIRST else None


def test_every_part_is_there(lab):
    lab.node.health = Reports()
    lab.set_state(FIRST, TargetState.UNHEALTHY)
    lab.set_cell(FIRST, TargetField.IN_FLIGHT, 2)
    lab.set_cell(FIRST, TargetField.PENDING, 1)
    lab.set_cell(target_key(SHOP, "[fd00::3]:80"), TargetField.CONNECTIONS, 3)
    lab.totals.listeners["shop/https"] = ListenerTotals(connections=9, refused={"connections": 1500, "bad_host": 2})
    lab.totals.rules[SHOP] = RuleTotals({"2xx": 12_345})
    lab.totals.targets[FIRST] = TargetTotals(latency=Latency(5, 0.1))
    text = told(lab)
    for expected in (
        "node node-1 (region local, clb 0.1.0): ready, 1 of 2 workers, configuration 1",
        "  worker 0     pid 11       ready, for 5s, lag 0.5 ms",
        "  web: ECDSA for shop.example.com, expires in 30d0h (2027-02-14)",
        "listener shop/https https 0.0.0.0:443",
        "  refused: connections 1.5k, bad_host 2",
        "  rule shop.example.com / (default): wrr, 12.3k requests, mean 20.0 ms",
        "    10.0.0.1:80            unhealthy   weight 10, 2 in flight, 0 connections, 1 waiting, for 3s, "
        "3 probes in a row failed: refused, next check in 2s",
        "    10.0.0.2:80            unchecked   weight 30, 0 in flight",
        "  rule shop.example.com =/old: redirect 308 to (same scheme)://(same host)/new",
        "draining",
        "  [fd00::3]:80 of shop/https shop.example.com/: weight 0, 0 in flight, 3 connections",
    ):
        assert expected in text, text


def test_trouble_is_said(lab):
    lab.node.draining = True
    lab.node.last_reload = Reload(NOW - 61, False, 1, "refused", ("clb.yaml:1:1: wrong",))
    for target in ("10.0.0.1:80", "10.0.0.2:80"):
        lab.set_state(target_key(SHOP, target), TargetState.EJECTED)
    text = told(lab)
    assert "NOT READY" in text
    assert "  because the node is draining" in text
    assert "REFUSED 1m01s ago: refused\n    clb.yaml:1:1: wrong" in text
    assert "EVERY TARGET IS OUT" in text


def test_a_certificate_that_ends_soon_or_has(lab):
    lab.now = NOW + 29 * 86400 + 3600
    assert "expires in 23h00m" in told(lab)
    lab.now = NOW + 31 * 86400
    assert "EXPIRED" in told(lab)


def test_rules_beyond_the_bound_are_counted(lab):
    text = told(lab, most_rules=2)
    assert "more rules (--all)" in text


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def test_the_command(node):
    result = CliRunner().invoke(app, ["status", "--socket", str(node.path)])
    assert result.exit_code == 0
    assert result.stdout.startswith("node node-1 (region local")
    assert "\x1b" not in result.stdout


def test_json_is_the_whole_answer(node):
    result = CliRunner().invoke(app, ["status", "--socket", str(node.path), "--json"])
    assert json.loads(result.stdout)["node"]["name"] == "node-1"


def test_no_node(tmp_path):
    result = CliRunner().invoke(app, ["status", "--socket", str(tmp_path / "s")])
    assert result.exit_code == 2
    assert "no node runs here" in result.stderr
