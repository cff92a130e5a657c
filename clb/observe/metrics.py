"""The node's metrics, in Prometheus' forms: made when they are asked for, from what the workers share.

Owns:      which series there are, and their labels; docs/admin.md tells what each means.
Elsewhere: the text of names, types and helps (metric_names.py); the numbers (control/node.py, control/totals.py);
           the bound on labels (shown_labels.py).
Shell:     imported in the control process only.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from clb import __version__
from clb.certificates.lifecycle import NOTICE_DAYS
from clb.control.node import TAKES_WORK, Node, Process, identity, listeners, rules
from clb.control.totals import Latency, ListenerTotals, RuleTotals, TargetTotals, Totals
from clb.control.webhook import DELIVERY_RESULTS
from clb.metering.cells import ListenerField, TargetField, target_key
from clb.observe.metric_names import METRICS, Kind
from clb.observe.processes import Usage, read_usage
from clb.observe.shown_labels import OTHER, ShownKeys

MOST_RULES = 200
MOST_TARGETS = 500
_MOST_NAMES = 10
_TRAFFIC_CLASSES = ("handshake", "billed", "overhead")
_DIRECTIONS = ("in", "out")


Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an Accept field to the metrics and their content type."""


def build_exposition(node: Node, usage: Callable[[int], Usage | None] = read_usage) -> Exposition:
    """The metrics of a node."""
    reading = _Reading(node, usage)

    async def exposition(accept: str) -> tuple[bytes, str]:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(await reading.take())
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return exposition


class _Reading:
    """Reads everything about one node; others get their turn in between."""

    def __init__(self, node: Node, usage: Callable[[int], Usage | None]) -> None:
        self._node = node
        self._usage = usage
        self._shown_rules = ShownKeys(MOST_RULES)
        self._shown_targets = ShownKeys(MOST_TARGETS)

    async def take(self) -> _Series:
        """All metrics, in the order of metric_names.py; those without a series as well."""
        series = _Series()
        node = self._node.view()
        totals = node.totals()
        _add_node(series, node)
        _add_processes(series, node, self._usage)
        _add_certificates(series, node)
        _add_listeners(series, node, totals)
        await asyncio.sleep(0)
        self._add_rules(series, node, totals)
        await asyncio.sleep(0)
        await self._add_targets(series, node, totals)
        return series

    def _add_rules(self, series: _Series, node: Node, totals: Totals) -> None:
        labels, is_out = {}, {}
        for key, balancer, listener in listeners(node.outline):
            for rule_name, rule in rules(key, listener):
                labels[rule_name] = (balancer.name, listener.name, f"{rule.domain}{rule.url}")
                is_out[rule_name] = node.is_all_out(rule_name, rule)
        counted = {key: totals.rule(key) or RuleTotals() for key in labels}
        shown, others = self._shown_rules.part(labels, lambda key: sum(counted[key].requests.values()))
        for key in shown:
            _add_rule(series, labels[key], [counted[key]])
            series.gauge("clb_rule_all_unavailable", labels[key], is_out[key])
        if others:
            names = (OTHER, OTHER, OTHER)
            _add_rule(series, names, [totals.rule(key) or RuleTotals() for key in others])
            series.gauge("clb_rule_all_unavailable", names, sum(is_out.get(key, False) for key in others))

    async def _add_targets(self, series: _Series, node: Node, totals: Totals) -> None:
        labels = {
            target_key(rule_name, identity(target)): (
                (balancer.name, listener.name, f"{rule.domain}{rule.url}", identity(target)),
                target.weight,
            )
            for key, balancer, listener in listeners(node.outline)
            for rule_name, rule in rules(key, listener)
            for target in rule.targets
        }
        counted = {key: totals.target(key) or TargetTotals() for key in labels}
        await asyncio.sleep(0)
        shown, others = self._shown_targets.part(labels, lambda key: sum(counted[key].requests.values()))
        await asyncio.sleep(0)
        for key in shown:
            names, weight = labels[key]
            _add_target(series, names, [counted[key]], node, [key])
            series.gauge("clb_target_weight", names, weight)
            series.gauge("clb_target_up", names, weight > 0 and node.target_state(key) in TAKES_WORK)
            series.gauge("clb_target_state", names, node.target_state(key))
            if (latency := node.latency_s(key)) is not None:
                series.gauge("clb_target_latency_seconds", names, latency)
        await asyncio.sleep(0)
        if others:
            _add_target(series, (OTHER,) * 4, [totals.target(key) or TargetTotals() for key in others], node, others)


class _Series(Collector):
    """Collects values into families that were all made beforehand."""

    def __init__(self) -> None:
        self.families: dict[str, Metric] = {}
        for name, metric in METRICS.items():
            self.families[name] = _FAMILIES[metric.kind](name, metric.help, labels=metric.labels)

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        return self.families.values()

    def describe(self) -> list[Metric]:
        """For the registry: there is one of these for each reading, so there is nothing to compare."""
        return []

    def count(self, name: str, labels: Iterable[object], value: float) -> None:
        """Add a counter's value."""
        family = self.families[name]
        assert isinstance(family, CounterMetricFamily)
        family.add_metric([str(label) for label in labels], value)

    def gauge(self, name: str, labels: Iterable[object], value: float) -> None:
        """Add a gauge's value."""
        family = self.families[name]
        assert isinstance(family, GaugeMetricFamily)
        family.add_metric([str(label) for label in labels], float(value))

    def summary(self, name: str, labels: Iterable[object], latencies: Iterable[Latency]) -> None:
        """Add the sum of several."""
        family = self.families[name]
        assert isinstance(family, SummaryMetricFamily)
        every = list(latencies)
        count, sum_s = sum(each.count for each in every), sum(each.sum_s for each in every)
        family.add_metric([str(label) for label in labels], count, sum_s)


_FAMILIES: dict[Kind, Callable[..., Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "summary": SummaryMetricFamily,
}


def _add_node(series: _Series, node: Node) -> None:
    series.gauge("clb_build_info", (__version__, platform.python_version(), ssl.OPENSSL_VERSION), 1)
    series.gauge("clb_ready", (), not node.not_ready_because())
    series.gauge("clb_draining", (), node.draining)
    series.gauge("clb_start_time_seconds", (), node.started_at)
    series.gauge("clb_config_version", (), node.outline.version)
    series.gauge("clb_workers", ("wanted",), node.workers_wanted)
    series.gauge("clb_workers", ("ready",), node.workers_ready)
    series.count("clb_worker_restarts_total", (), node.restarts)
    series.count("clb_reloads_total", ("ok",), node.reloads[True])
    series.count("clb_reloads_total", ("failed",), node.reloads[False])
    series.gauge("clb_event_loop_lag_seconds", ("control",), node.loop_lag_s)
    series.gauge("clb_store_up", (), node.store_fault is None)
    series.gauge("clb_store_in_service", (), node.store_behind is None)
    if node.writer is not None:
        series.gauge("clb_store_revision", (), node.writer.inventory.revision)


def _add_processes(series: _Series, node: Node, usage: Callable[[int], Usage | None]) -> None:
    for process in node.processes:
        name = _process_name(process)
        if process.state == "draining":
            continue  # Two of one name would be one series twice.
        if process.lag_ms is not None and process.role == "worker":
            series.gauge("clb_event_loop_lag_seconds", (name,), process.lag_ms / 1000)
        if (used := usage(process.pid)) is None:
            continue
        series.count("clb_process_cpu_seconds_total", (name,), used.cpu_s)
        series.gauge("clb_process_resident_bytes", (name,), used.resident_bytes)
        if used.descriptors is not None:
            series.gauge("clb_process_open_descriptors", (name,), used.descriptors)


def _process_name(process: Process) -> str:
    return process.role if process.slot is None else f"{process.role}-{process.slot}"


def _add_certificates(series: _Series, node: Node) -> None:
    users: dict[str, list[str]] = {}
    for key, _, listener in listeners(node.outline):
        for name in listener.certificate_names:
            users.setdefault(name, []).append(key)
    for name, facts in sorted(node.outline.certificates.items()):
        expires_at = facts.not_after.timestamp()
        domain = facts.names[0] if facts.names else ""
        series.gauge("clb_certificate_expiry_seconds", (name, domain), expires_at - node.wall())
        series.gauge("clb_certificate_expiry_timestamp_seconds", (name, domain), expires_at)
        labels = (name, facts.key_type, _some(facts.names), _some(users.get(name, ())))
        series.gauge("clb_certificate_info", labels, 1)
    for days in NOTICE_DAYS:
        series.count("clb_certificate_notices_total", (str(days),), node.notices[days])
    for result in DELIVERY_RESULTS:
        series.count("clb_webhook_deliveries_total", (result,), node.deliveries[result])


def _some(names: Iterable[str]) -> str:
    every = list(names)
    return ",".join(every[:_MOST_NAMES]) + (",..." if len(every) > _MOST_NAMES else "")


def _add_listeners(series: _Series, node: Node, totals: Totals) -> None:
    for key, balancer, listener in listeners(node.outline):
        names = (balancer.name, listener.name)
        series.gauge("clb_open_connections", names, node.gauge(key, ListenerField.CONNECTIONS))
        series.gauge("clb_requests_in_flight", names, node.gauge(key, ListenerField.IN_FLIGHT))
        series.gauge("clb_requests_queued", names, node.gauge(key, ListenerField.QUEUED))
        _add_listener_totals(series, names, totals.listener(key) or ListenerTotals())


def _add_listener_totals(series: _Series, names: tuple[str, str], counted: ListenerTotals) -> None:
    series.count("clb_connections_total", names, counted.connections)
    series.count("clb_handshakes_total", (*names, "full", ""), counted.handshakes_full)
    series.count("clb_handshakes_total", (*names, "resumed", ""), counted.handshakes_resumed)
    for reason, number in sorted(counted.handshakes_failed.items()):
        series.count("clb_handshakes_total", (*names, "failed", reason), number)
    for code, number in sorted(counted.requests.items()):
        series.count("clb_requests_total", (*names, code), number)
    for reason, number in sorted(counted.refused.items()):
        series.count("clb_refused_total", (*names, reason), number)
    # A net figure falls when an answer turns out not to have arrived, and Prometheus takes that for a restart.
    traffic = counted.traffic.as_written()
    for direction in _DIRECTIONS:
        series.count("clb_wire_bytes_total", (*names, direction), getattr(traffic, f"wire_{direction}"))
        for group in _TRAFFIC_CLASSES:
            number = getattr(traffic, f"{group}_{direction}")
            series.count("clb_traffic_bytes_total", (*names, group, direction), number)
    series.count("clb_unsent_bytes_total", names, traffic.unsent_out)
    for kind, number in counted.unpaid.items():
        series.count("clb_unpaid_bytes_total", (*names, kind), number)
    series.count("clb_ledger_defects_total", names, counted.defects)


def _add_rule(series: _Series, names: tuple[str, str, str], counted: list[RuleTotals]) -> None:
    for code, number in _summed(each.requests.items() for each in counted):
        series.count("clb_rule_requests_total", (*names, code), number)
    series.count("clb_rule_billed_bytes_total", (*names, "in"), sum(each.billed_in for each in counted))
    series.count(
        "clb_rule_billed_bytes_total", (*names, "out"), sum(each.billed_out + each.unsent_out for each in counted)
    )


def _add_target(
    series: _Series, names: tuple[str, ...], counted: list[TargetTotals], node: Node, keys: list[str]
) -> None:
    for code, number in _summed(each.requests.items() for each in counted):
        series.count("clb_target_requests_total", (*names, code), number)
    for reason, number in _summed(each.failures.items() for each in counted):
        series.count("clb_target_failures_total", (*names, reason), number)
    series.count("clb_target_retries_total", names, sum(each.retries for each in counted))
    series.count("clb_target_connections_total", names, sum(each.connections for each in counted))
    series.count("clb_target_ejections_total", names, sum(node.ejections[key] for key in keys))
    series.summary("clb_target_response_seconds", names, (each.latency for each in counted))
    for name, field in _TARGET_GAUGES.items():
        series.gauge(name, names, sum(node.gauge(key, field) for key in keys))


_TARGET_GAUGES = {
    "clb_target_in_flight": TargetField.IN_FLIGHT,
    "clb_target_pending": TargetField.PENDING,
    "clb_target_open_connections": TargetField.CONNECTIONS,
}


def _summed(groups: Iterable[Iterable[tuple[str, int]]]) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for group in groups:
        for name, number in group:
            total[name] += number
    return sorted(total.items())
