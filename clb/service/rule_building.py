"""Make rules at work of configured ones, and change those that are at work.

Owns:      which object belongs to which identity below a rule: candidates and their pools, scheduler, session, budget.
Elsewhere: listeners and the order of a change (assembly.py); what was removed (draining.py).

What is new is built aside. What is there is changed by `RuleChange.apply`, at one moment between two callbacks of the
loop: no request sees half of it. An object lives as long as its identity does, and nothing that it has learned or
counted is lost by a change that it has nothing to do with: a scheduler begins its round anew only if the targets that
it chooses from, or their weights, are others.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from clb.balancing.candidate import Candidate
from clb.balancing.retry_budget import RetryBudget
from clb.balancing.scheduler import Scheduler, create_scheduler
from clb.balancing.stickiness import SessionPolicy
from clb.config.models import Listener, Rule, Target
from clb.health.streaks import Streaks
from clb.metering.cells import RuleField, listener_key, rule_key, target_key
from clb.proxy.observation import Observation
from clb.proxy.pool import TargetPool
from clb.proxy.request_gate import RequestGate, build_gate
from clb.proxy.rule import RuleRuntime
from clb.proxy.target_cells import join_cells
from clb.service.surroundings import Surroundings

KnownCandidates = Callable[[str], Candidate[TargetPool] | None]
"""Removed targets that are still waited for, by `target_key`: one that comes back is the same object."""


@dataclass(frozen=True, slots=True)
class ListenerSide:
    """What of a listener its rules depend on."""

    load_balancer: str
    config: Listener

    @property
    def key(self) -> str:
        """Name the listener."""
        return listener_key(self.load_balancer, self.config.name)

    def is_same_for_rules(self, old: Listener) -> bool:
        """Whether a rule that did not change itself has nothing to take over."""
        return old.timeouts.connect == self.config.timeouts.connect

    def rule_key(self, rule: Rule) -> str:
        """Name a rule of the listener."""
        return rule_key(self.load_balancer, self.config.name, rule.domain, rule.url)


class RuleBuilder:
    """Builds and changes rules of one process."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def build(self, rule: Rule, side: ListenerSide, known: KnownCandidates) -> RuleRuntime:
        """Build a rule."""
        candidates = self.candidates(rule, side, known)
        runtime = RuleRuntime(
            name=rule.domain + rule.url,
            config=rule,
            candidates=candidates,
            scheduler=self.scheduler(rule, candidates),
            session=self.session(rule, side, candidates),
            budget=RetryBudget(rule.retry.budget, rule.retry.budget_minimum),
            ledger=self._surroundings.ledgers.rule(side.rule_key(rule)),
            gate=self.gate(rule, side),
            observation=self.observation(rule, side),
        )
        self.judge(runtime, side)
        return runtime

    def judge(self, runtime: RuleRuntime, side: ListenerSide) -> None:
        """Let a rule know of its targets' health before a request meets it: a new one takes no work yet."""
        if self._surroundings.judge is not None:
            self._surroundings.judge(side.key, runtime)

    def observation(self, rule: Rule, side: ListenerSide) -> Observation | None:
        """Return what hears of failures of a rule's targets, if there is somebody to tell."""
        suspect = self._surroundings.suspect
        return None if suspect is None else Observation(Streaks(rule.passive, partial(suspect, side.rule_key(rule))))

    def scheduler(self, rule: Rule, candidates: tuple[Candidate[TargetPool], ...]) -> Scheduler[TargetPool]:
        """Return the scheduler that a rule asks for."""
        return create_scheduler(rule.scheduler, candidates, secrets.randbelow, self._surroundings.clock.now)

    def candidates(self, rule: Rule, side: ListenerSide, known: KnownCandidates) -> tuple[Candidate[TargetPool], ...]:
        """Return the candidates of a rule, those that are known as they are."""
        key = side.rule_key(rule)
        found = (known(target_key(key, identity_of(target))) for target in rule.targets)
        return tuple(
            candidate or self._new_candidate(target, rule, side)
            for candidate, target in zip(found, rule.targets, strict=True)
        )

    def _new_candidate(self, target: Target, rule: Rule, side: ListenerSide) -> Candidate[TargetPool]:
        connect_s = side.config.timeouts.connect
        loop, names = self._surroundings.loop, self._surroundings.names
        in_use = self._surroundings.node.pools
        pool = TargetPool(loop, target.address, target.port, rule.pool, connect_s, in_use, names)
        candidate = Candidate(target.address, target.port, target.weight, pool)
        key = target_key(side.rule_key(rule), candidate.identity)
        pool.ledger = self._surroundings.ledgers.target(key)
        join_cells(candidate, key, self._surroundings.node.share)
        return candidate

    def gate(self, rule: Rule, side: ListenerSide) -> RequestGate | None:
        """Return what stands before a rule's requests, if anything does."""
        return build_gate(
            self._surroundings.node.share,
            self._surroundings.loop,
            side.rule_key(rule),
            RuleField.BOUNDED,
            rule.access,
            rule.rate_limits,
            rule.in_flight,
        )

    def session(
        self, rule: Rule, side: ListenerSide, candidates: tuple[Candidate[TargetPool], ...]
    ) -> SessionPolicy[TargetPool] | None:
        """Return a rule's session policy, if it has sessions."""
        if not rule.session.expire:
            return None
        return SessionPolicy(
            rule.session.cookie_name.encode("ascii"),
            rule.session.expire,
            self._surroundings.cookie_key,
            secure=side.config.protocol == "https",
            same_site=rule.session.same_site,
            candidates=candidates,
        )


class RuleChange:
    """What is to be done to one rule that is at work; made aside, applied at once."""

    def __init__(
        self,
        builder: RuleBuilder,
        runtime: RuleRuntime,
        rule: Rule,
        side: ListenerSide,
        known: KnownCandidates,
    ) -> None:
        self.runtime = runtime
        self._builder = builder
        self._rule = rule
        self._side = side
        self.key = key = side.rule_key(rule)
        own = {target_key(key, candidate.identity): candidate for candidate in runtime.candidates}
        self._candidates = builder.candidates(rule, side, lambda name: own.get(name) or known(name))

    def apply(self) -> tuple[Candidate[TargetPool], ...]:
        """Change the rule; return the candidates that it has no more."""
        runtime, rule, old = self.runtime, self._rule, self.runtime.config
        removed = tuple(candidate for candidate in runtime.candidates if candidate not in self._candidates)
        runtime.take(rule)
        has_new_choice = self._renew_candidates(runtime, old, rule)
        if old.scheduler != rule.scheduler:
            runtime.scheduler = self._builder.scheduler(rule, runtime.candidates)
        elif has_new_choice:
            runtime.scheduler.update(runtime.candidates)
        if old.session != rule.session:
            runtime.session = self._builder.session(rule, self._side, runtime.candidates)
        elif has_new_choice and runtime.session is not None:
            runtime.session.update(runtime.candidates)
        if (old.access, old.rate_limits, old.in_flight) != (rule.access, rule.rate_limits, rule.in_flight):
            # Requests that are behind the old gate leave it in time; both count in the same cells.
            runtime.gate = self._builder.gate(rule, self._side)
        if runtime.observation is not None:
            runtime.observation.streaks.update(rule.passive, [identity_of(target) for target in rule.targets])
        runtime.budget.configure(rule.retry.budget, rule.retry.budget_minimum)
        self._builder.judge(runtime, self._side)
        return removed

    def _renew_candidates(self, runtime: RuleRuntime, old: Rule, rule: Rule) -> bool:
        """Put the candidates in; tell whether schedulers have to look at them again."""
        has_new_choice = runtime.candidates != self._candidates
        runtime.candidates = self._candidates
        connect_s = self._side.config.timeouts.connect
        before = {identity_of(target): target.weight for target in old.targets}
        for candidate, target in zip(self._candidates, rule.targets, strict=True):
            # Compared with what was configured: what a scheduler sees may be less, in slow start.
            if before.get(candidate.identity) != target.weight:
                candidate.weight = target.weight
                has_new_choice = True
            candidate.payload.configure(rule.pool, connect_s)
        return has_new_choice


def identity_of(target: Target) -> str:
    """Return what makes it the same target after a reload."""
    return f"[{target.address}]:{target.port}" if ":" in target.address else f"{target.address}:{target.port}"
