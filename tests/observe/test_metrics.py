"""The metrics: what a scrape says, in both forms, within bounds, and in step with the documentation."""

from __future__ import annotations

import asyncio
import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from control_lab import NOW, SHOP, SITE, Lab

from clb.control.totals import Latency, ListenerTotals, RuleTotals, TargetTotals
from clb.metering.cells import ListenerField, TargetField, TargetState, target_key
from clb.metering.counters import Traffic
from clb.observe import metrics
from clb.observe.metric_names import METRICS
from clb.observe.metrics import build_exposition
from clb.observe.processes import Usage

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "admin.md"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
FIRST = target_key(SHOP, "10.0.0.1:80")


@pytest.fixture
def lab(tmp_path):
    """A node on which everything that can be counted was."""
    lab = Lab(tmp_path)
    lab.totals.listeners["shop/https"] = ListenerTotals(
        defects=1,
        unpaid={"plain_http": 12},
        connections=9,
        handshakes_full=5,
        handshakes_resumed=2,
        handshakes_failed={"timeout": 1, "unknown_ca": 3},
        requests={"2xx": 7, "5xx": 1},
        refused={"connections": 4},
        traffic=Traffic(100, 200, 10, 20, 80, 170, 10, 10, 5),
    )
    lab.totals.rules[SHOP] = RuleTotals({"2xx": 7}, 80, 170)
    lab.totals.targets[FIRST] = TargetTotals({"2xx": 7, "none": 2}, {"dial_refused": 3}, 4, 5, Latency(6, 0.4))
    lab.node.ejections[FIRST] = 1
    lab.set_state(FIRST, TargetState.EJECTED)
    lab.set_cell("shop/https", ListenerField.CONNECTIONS, 3)
    lab.set_cell(FIRST, TargetField.IN_FLIGHT, 2)
    lab.set_cell(FIRST, TargetField.LATENCY_US, 1500)
    return lab


def usage(pid):
    return None if pid == 12 else Usage(1.5, 4096, 7 if pid == 11 else None)


def scrape(lab, accept=""):
    return asyncio.run(build_exposition(lab.node, usage)(accept))[0].decode()


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(lab, name, **labels):
    return samples(scrape(lab))[name, tuple(sorted(labels.items()))]


HTTPS = {"load_balancer": "shop", "listener": "https"}
RULE = {**HTTPS, "rule": "shop.example.com/"}
TARGET = {**RULE, "target": "10.0.0.1:80"}

VALUES = {
    "ready": ("clb_ready", {}, 1),
    "workers_wanted": ("clb_workers", {"state": "wanted"}, 2),
    "workers_ready": ("clb_workers", {"state": "ready"}, 1),
    "version": ("clb_config_version", {}, 1),
    "cpu": ("clb_process_cpu_seconds_total", {"process": "worker-0"}, 1.5),
    "descriptors": ("clb_process_open_descriptors", {"process": "worker-0"}, 7),
    "lag": ("clb_event_loop_lag_seconds", {"process": "worker-0"}, 0.0005),
    "expiry": ("clb_certificate_expiry_seconds", {"certificate": "web", "domain": "shop.example.com"}, 30 * 86400),
    "expires_at": (
        "clb_certificate_expiry_timestamp_seconds",
        {"certificate": "web", "domain": "shop.example.com"},
        NOW + 30 * 86400,
    ),
    "open": ("clb_open_connections", HTTPS, 3),
    "accepted": ("clb_connections_total", HTTPS, 9),
    "full": ("clb_handshakes_total", {**HTTPS, "result": "full", "reason": ""}, 5),
    "failed": ("clb_handshakes_total", {**HTTPS, "result": "failed", "reason": "unknown_ca"}, 3),
    "requests": ("clb_requests_total", {**HTTPS, "code": "5xx"}, 1),
    "refused": ("clb_refused_total", {**HTTPS, "reason": "connections"}, 4),
    "wire": ("clb_wire_bytes_total", {**HTTPS, "direction": "out"}, 205),
    "billed": ("clb_traffic_bytes_total", {**HTTPS, "class": "billed", "direction": "in"}, 80),
    "unsent": ("clb_unsent_bytes_total", HTTPS, 5),
    "unpaid": ("clb_unpaid_bytes_total", {**HTTPS, "kind": "plain_http"}, 12),
    "defects": ("clb_ledger_defects_total", HTTPS, 1),
    "rule_requests": ("clb_rule_requests_total", {**RULE, "code": "2xx"}, 7),
    "rule_bytes": ("clb_rule_billed_bytes_total", {**RULE, "direction": "out"}, 170),
    "rule_all_out": ("clb_rule_all_unavailable", RULE, 0),
    "target_unanswered": ("clb_target_requests_total", {**TARGET, "code": "none"}, 2),
    "target_failures": ("clb_target_failures_total", {**TARGET, "reason": "dial_refused"}, 3),
    "target_retries": ("clb_target_retries_total", TARGET, 4),
    "target_connections": ("clb_target_connections_total", TARGET, 5),
    "target_sum": ("clb_target_response_seconds_sum", TARGET, 0.4),
    "target_count": ("clb_target_response_seconds_count", TARGET, 6),
    "target_in_flight": ("clb_target_in_flight", TARGET, 2),
    "target_latency": ("clb_target_latency_seconds", TARGET, 0.0015),
    "target_up": ("clb_target_up", TARGET, 0),
    "target_state": ("clb_target_state", TARGET, 4),
    "target_ejections": ("clb_target_ejections_total", TARGET, 1),
    "weight": ("clb_target_weight", {**RULE, "target": "[fd00::3]:80"}, 0),
}


@pytest.mark.parametrize(("name", "labels", "expected"), VALUES.values(), ids=VALUES)
def test_values(lab, name, labels, expected):
    assert value(lab, name, **labels) == pytest.approx(expected)


def test_a_rule_whose_targets_are_all_out(lab):
    for target in ("10.0.0.1:80", "10.0.0.2:80"):
        lab.set_state(target_key(SHOP, target), TargetState.UNHEALTHY)
    assert value(lab, "clb_rule_all_unavailable", **RULE) == 1


def test_bytes_by_class_add_up_to_the_wire(lab):
    for direction in ("in", "out"):
        classes = [
            value(lab, "clb_traffic_bytes_total", **HTTPS, **{"class": group, "direction": direction})
            for group in ("handshake", "billed", "overhead")
        ]
        assert sum(classes) == value(lab, "clb_wire_bytes_total", **HTTPS, direction=direction)


def test_what_the_kernel_does_not_tell_is_left_out(lab):
    told = samples(scrape(lab))
    assert ("clb_process_open_descriptors", (("process", "supervisor"),)) not in told
    assert ("clb_process_cpu_seconds_total", (("process", "worker-1"),)) not in told


def test_nothing_is_there_twice(lab):
    text = scrape(lab)
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_both_forms(lab):
    exposition = build_exposition(lab.node, usage)
    text, kind = asyncio.run(exposition(""))
    assert kind.startswith("text/plain; version=0.0.4")
    open_text, open_kind = asyncio.run(exposition(OPENMETRICS))
    assert open_kind.startswith("application/openmetrics-text")
    assert open_text.endswith(b"# EOF\n")
    names = {family.name for family in parse_openmetrics(open_text.decode())}
    assert names == {name.removesuffix("_total") for name in METRICS}
    assert b"# TYPE clb_connections_total counter" in text


def test_a_node_on_which_nothing_happened_has_every_metric(tmp_path):
    text = scrape(Lab(tmp_path))
    assert {match[1] for match in re.finditer(r"^# TYPE (\S+)", text, re.MULTILINE)} == set(METRICS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_has_no_complaint(lab):
    checked = subprocess.run(["promtool", "check", "metrics"], input=scrape(lab), capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# --- bounds ---


def many_rules(count):
    site = copy.deepcopy(SITE)
    rules = site["load_balancers"][0]["listeners"][0]["rules"]
    target = {"address": "10.0.0.1", "port": 80}
    rules[:] = rules[:1] + [{"domain": f"d{n}.test", "targets": [target]} for n in range(count)]
    return site


def test_rules_and_targets_beyond_the_bound_are_one_series(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "MOST_RULES", 3)
    monkeypatch.setattr(metrics, "MOST_TARGETS", 4)
    lab = Lab(tmp_path, many_rules(10))
    for number in range(10):
        key = f"shop/https d{number}.test/"
        lab.totals.rules[key] = RuleTotals({"2xx": number})
        lab.totals.targets[f"{key} 10.0.0.1:80"] = TargetTotals({"2xx": number})
        lab.set_cell(f"{key} 10.0.0.1:80", TargetField.IN_FLIGHT, 1)
    exposition = build_exposition(lab.node, usage)
    told = samples(asyncio.run(exposition(""))[0].decode())
    shown = {dict(labels)["rule"] for name, labels in told if name == "clb_rule_requests_total"}
    # The busiest of the first scrape.
    assert shown == {"d9.test/", "d8.test/", "d7.test/", "other"}
    other = {"load_balancer": "other", "listener": "other", "rule": "other"}
    everything = {
        (name, tuple(sorted(labels.items())))
        for name, labels in [("clb_rule_requests_total", {**other, "code": "2xx"})]
    }
    (key,) = everything
    assert told[key] == sum(range(7))
    assert told["clb_target_in_flight", tuple(sorted({**other, "target": "other"}.items()))] == 6
    # A later burst moves nothing: a series that changes places would look like a counter's reset.
    lab.totals.rules["shop/https d1.test/"] = RuleTotals({"2xx": 10_000})
    again = samples(asyncio.run(exposition(""))[0].decode())
    assert again[key] == sum(range(7)) - 1 + 10_000


# --- documentation ---


def test_the_documentation_has_every_metric():
    rows = {}
    for line in DOCUMENTATION.read_text().splitlines():
        if match := re.match(r"\| `(clb_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", line):
            rows[match[1]] = (match[2], tuple(re.findall(r"`(\w+)`", match[3])), match[4].strip())
    assert {name: (metric.kind, metric.labels) for name, metric in METRICS.items()} == {
        name: row[:2] for name, row in rows.items()
    }
    for name, metric in METRICS.items():
        assert metric.help in rows[name][2], name
