"""Turn a checked configuration into listeners at work.

Owns:      which object belongs to which identity: pools to targets, ledgers to rules and listeners.
Elsewhere: files and certificates (materials.py, contexts.py); running it (serve.py).
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from clb.balancing.candidate import Candidate
from clb.balancing.retry_budget import RetryBudget
from clb.balancing.scheduler import create_scheduler
from clb.balancing.stickiness import SessionPolicy
from clb.config.models import Access, Config, Listener, LoadBalancer, Rule
from clb.metering.cells import ListenerField, RuleField, listener_key, rule_key
from clb.metering.counters import RuleLedger
from clb.proxy.admission import NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.listener import AccessLogger, EventLog, ListenerRuntime, RequestIds
from clb.proxy.pool import TargetPool
from clb.proxy.request_gate import build_gate
from clb.proxy.rule import RuleRuntime
from clb.routing.router import Router, RouteSpec
from clb.service.contexts import build_contexts
from clb.service.materials import Materials


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all listeners of a process share."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    access_log: AccessLogger
    events: EventLog
    cookie_key: bytes
    """Key of the session cookies; the same on every worker and after a restart."""
    node: NodeAdmission = field(default_factory=NodeAdmission.alone)
    """Caps, and the process's part of the numbers that the node's processes share."""


def build_listeners(config: Config, materials: Materials, surroundings: Surroundings) -> list[ListenerRuntime]:
    """Build every listener of the load balancers that this node's region serves; nothing is bound yet.

    Raises:
        ContextFault: OpenSSL refuses a certificate, CA or CRL under the listener's policy.
    """
    request_ids = RequestIds()
    return [
        _build_listener(load_balancer, listener, materials, surroundings, request_ids)
        for load_balancer in config.served
        for listener in load_balancer.listeners
    ]


def _build_listener(
    load_balancer: LoadBalancer,
    listener: Listener,
    materials: Materials,
    surroundings: Surroundings,
    request_ids: RequestIds,
) -> ListenerRuntime:
    pools: set[TargetPool] = set()
    rules = [_build_rule(rule, listener, load_balancer.name, surroundings, pools) for rule in listener.rules]
    router = Router(
        RouteSpec(domain=rule.config.domain, url=rule.config.url, value=rule, default=rule.config.default)
        for rule in rules
    )
    contexts = None
    if listener.protocol == "https":
        contexts = build_contexts(listener, load_balancer.name, materials)
    return ListenerRuntime(
        load_balancer.name,
        listener,
        router,
        rules,
        contexts,
        surroundings.clock,
        request_ids,
        surroundings.access_log,
        surroundings.events,
        surroundings.node,
        build_gate(
            surroundings.node.share,
            surroundings.loop,
            listener_key(load_balancer.name, listener.name),
            ListenerField.IN_FLIGHT,
            Access(),
            listener.rate_limits,
            listener.in_flight,
        ),
        pools,
    )


def _build_rule(
    rule: Rule, listener: Listener, load_balancer: str, surroundings: Surroundings, pools: set[TargetPool]
) -> RuleRuntime:
    candidates = tuple(
        Candidate(
            target.address,
            target.port,
            target.weight,
            TargetPool(surroundings.loop, target.address, target.port, rule.pool, listener.timeouts.connect, pools),
        )
        for target in rule.targets
    )
    session = None
    if rule.session.expire:
        session = SessionPolicy(
            rule.session.cookie_name.encode("ascii"),
            rule.session.expire,
            surroundings.cookie_key,
            secure=listener.protocol == "https",
            same_site=rule.session.same_site,
            candidates=candidates,
        )
    return RuleRuntime(
        name=rule.domain + rule.url,
        config=rule,
        candidates=candidates,
        scheduler=create_scheduler(rule.scheduler, candidates, secrets.randbelow, surroundings.clock.now),
        session=session,
        budget=RetryBudget(rule.retry.budget, rule.retry.budget_minimum),
        ledger=RuleLedger(),
        gate=build_gate(
            surroundings.node.share,
            surroundings.loop,
            rule_key(load_balancer, listener.name, rule.domain, rule.url),
            RuleField.IN_FLIGHT,
            rule.access,
            rule.rate_limits,
            rule.in_flight,
        ),
    )
