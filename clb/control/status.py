"""Put `GET /v1/status` together.

Owns:      which number stands where.
Elsewhere: the numbers (node.py, totals.py, rates.py); their form (models.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

from clb import __version__
from clb.config.models import Listener, LoadBalancer, Rule, Target
from clb.control.events import utc
from clb.control.models import (
    CertificateStatus,
    DrainingStatus,
    HealthChangeStatus,
    ListenerStatus,
    ManagementStatus,
    ManagementTls,
    NodeStatus,
    ProbeStatus,
    ProcessStatus,
    ReloadStatus,
    RuleStatus,
    Status,
    TargetStatus,
)
from clb.control.node import TAKES_WORK, HealthReport, Node, Process, identity, listeners, rules
from clb.control.totals import ListenerTotals, RuleTotals, Totals
from clb.metering.cells import ListenerField, TargetField, target_key

RULES_IN_A_STEP = 50
"""A few milliseconds' work."""


async def build_status(node: Node) -> Status:
    """Everything, as of now. Others get their turn in between: thousands of rules take their time."""
    node = node.view()
    totals = node.totals()
    return Status(
        node=_node(node),
        management=_management(node),
        processes=[_process(process) for process in node.processes],
        last_reload=_reload(node),
        rates=node.rates.all(),
        certificates=[_certificate(node, name) for name in sorted(node.outline.certificates)],
        listeners=[
            await _listener(node, totals, key, balancer, listener)
            for key, balancer, listener in listeners(node.outline)
        ],
        draining=list(_draining(node)),
        last_event=node.events.last_number,
    )


def _node(node: Node) -> NodeStatus:
    reasons = node.not_ready_because()
    config = node.outline.config.node
    return NodeStatus(
        name=config.name,
        region=", ".join(config.region),
        clb_version=__version__,
        config_version=node.outline.version,
        started_at=utc(node.started_at),
        ready=not reasons,
        not_ready_because=reasons,
        draining=node.draining,
        workers_ready=node.workers_ready,
        workers_wanted=node.workers_wanted,
    )


def _management(node: Node) -> ManagementStatus:
    admin, tls = node.outline.config.admin, node.admin_tls
    now = utc(node.wall())
    tokens = node.writer.inventory.tokens.values() if node.writer is not None else ()
    return ManagementStatus(
        address=str(admin.address),
        port=admin.port,
        tls=ManagementTls(**dataclasses.asdict(tls)) if tls is not None else None,
        tokens=sum(each.is_valid(now) for each in tokens),
    )


def _process(process: Process) -> ProcessStatus:
    return ProcessStatus(
        role=process.role,
        slot=process.slot,
        pid=process.pid,
        state=process.state,
        since=utc(process.since) if process.since is not None else None,
        restarts=process.restarts,
        config_version=process.version,
        loop_lag_ms=process.lag_ms,
        connections=process.connections,
    )


def _reload(node: Node) -> ReloadStatus | None:
    last = node.last_reload
    if last is None:
        return None
    return ReloadStatus(
        at=utc(last.at), ok=last.ok, config_version=last.version, summary=last.summary, errors=list(last.errors)
    )


def _certificate(node: Node, name: str) -> CertificateStatus:
    facts = node.outline.certificates[name]
    return CertificateStatus(
        name=name,
        names=list(facts.names),
        key_type=facts.key_type,
        not_before=facts.not_before,
        not_after=facts.not_after,
        seconds_left=int(facts.not_after.timestamp() - node.wall()),
        fingerprint=facts.fingerprint,
        listeners=[key for key, _, listener in listeners(node.outline) if name in listener.certificate_names],
    )


async def _listener(node: Node, totals: Totals, key: str, balancer: LoadBalancer, listener: Listener) -> ListenerStatus:
    counted = totals.listener(key)
    shown = []
    for number, (rule_name, rule) in enumerate(rules(key, listener)):
        shown.append(_rule(node, totals, rule_name, rule))
        if number % RULES_IN_A_STEP == RULES_IN_A_STEP - 1:
            await asyncio.sleep(0)
    return ListenerStatus(
        load_balancer=balancer.name,
        listener=listener.name,
        address=listener.address,
        port=listener.port,
        protocol=listener.protocol,
        tls_policy=listener.tls_policy if listener.protocol == "https" else None,
        certificates=list(listener.certificate_names),
        connections=node.gauge(key, ListenerField.CONNECTIONS),
        in_flight=node.gauge(key, ListenerField.IN_FLIGHT),
        queued=node.gauge(key, ListenerField.QUEUED),
        rates=node.rates.of(key),
        rules=shown,
        **_counted(counted),
    )


def _counted(counted: ListenerTotals | None) -> dict[str, Any]:
    if counted is None:
        return {}
    return {
        "accepted": counted.connections,
        "requests": sum(counted.requests.values()),
        "refused": dict(sorted(counted.refused.items())),
    }


def _rule(node: Node, totals: Totals, key: str, rule: Rule) -> RuleStatus:
    targets = [_target(node, totals, key, target) for target in rule.targets]
    counted = totals.rule(key)
    latency = _mean_s(targets)
    return RuleStatus(
        domain=rule.domain,
        url=rule.url,
        default=rule.default,
        scheduler=rule.scheduler if rule.redirect is None else None,
        redirect=redirect_words(rule),
        all_unavailable=node.is_all_out(key, rule),
        mean_latency_ms=_ms(latency),
        targets=targets,
        **_rule_counted(counted),
    )


def _rule_counted(counted: RuleTotals | None) -> dict[str, Any]:
    if counted is None:
        return {}
    return {
        "requests": sum(counted.requests.values()),
        "in_bytes": counted.billed_in,
        "out_bytes": counted.billed_out,
    }


def _mean_s(targets: list[TargetStatus]) -> float | None:
    answers = sum(target.answers or 0 for target in targets)
    return sum(target.answers_latency_s or 0.0 for target in targets) / answers if answers else None


def redirect_words(rule: Rule) -> str | None:
    """Where a rule redirects to, in short; None if it does not."""
    redirect = rule.redirect
    if redirect is None:
        return None
    scheme = f"{redirect.scheme or '(same scheme)'}://"
    port = f":{redirect.port}" if redirect.port else ""
    path = redirect.path or ("(same path)" if redirect.keep_path else "/")
    return f"{redirect.status} to {scheme}{redirect.host or '(same host)'}{port}{path}"


def _target(node: Node, totals: Totals, rule: str, target: Target) -> TargetStatus:
    name = identity(target)
    key = target_key(rule, name)
    state = node.target_state(key)
    report = node.health.report(key) or HealthReport("")
    since = node.target_since(key)
    counted = totals.target(key)
    takes_work = state in TAKES_WORK and target.weight > 0
    effective = report.effective_weight if report.effective_weight is not None else target.weight
    return TargetStatus(
        target=name,
        state=state.name.lower(),
        takes_work=takes_work,
        why=report.why or None,
        since=utc(since) if since is not None else None,
        next_probe_at=utc(report.next_probe_at) if report.next_probe_at is not None else None,
        probes=[
            ProbeStatus(at=utc(probe.at), ok=probe.ok, detail=probe.detail, took_ms=_ms(probe.took_s))
            for probe in report.probes
        ],
        detect_s=report.detect_s,
        return_s=report.return_s,
        ejected_until=utc(report.ejected_until) if report.ejected_until is not None else None,
        ejections=report.ejections,
        changes=[
            HealthChangeStatus(at=utc(change.at), before=change.before, after=change.after, cause=change.cause)
            for change in report.changes
        ],
        weight=target.weight,
        effective_weight=effective if takes_work else 0,
        in_flight=node.gauge(key, TargetField.IN_FLIGHT),
        pending=node.gauge(key, TargetField.PENDING),
        connections=node.gauge(key, TargetField.CONNECTIONS),
        latency_ms=_ms(node.latency_s(key)),
        requests=sum(counted.requests.values()) if counted is not None else None,
        answers=counted.latency.count if counted is not None else None,
        answers_latency_s=round(counted.latency.sum_s, 6) if counted is not None else None,
    )


def _draining(node: Node) -> Iterator[DrainingStatus]:
    for gone in node.removed.values():
        yield DrainingStatus(
            rule=gone.rule,
            target=gone.target,
            reason="removed",
            since=utc(gone.since),
            until=utc(gone.until),
            in_flight=max(0, node.cells.total(gone.row, TargetField.IN_FLIGHT)),
            connections=max(0, node.cells.total(gone.row, TargetField.CONNECTIONS)),
        )
    for key, _, listener in listeners(node.outline):
        for rule_name, rule in rules(key, listener):
            for target in rule.targets:
                if target.weight == 0 and (parked := _parked(node, rule_name, target)).in_flight + parked.connections:
                    yield parked


def _parked(node: Node, rule: str, target: Target) -> DrainingStatus:
    key = target_key(rule, identity(target))
    return DrainingStatus(
        rule=rule,
        target=identity(target),
        reason="weight 0",
        since=None,
        until=None,
        in_flight=node.gauge(key, TargetField.IN_FLIGHT),
        connections=node.gauge(key, TargetField.CONNECTIONS),
    )


def _ms(seconds: float | None) -> float | None:
    return round(seconds * 1000, 3) if seconds is not None else None
