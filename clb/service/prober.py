"""Find out for the whole node which real servers take work, and tell the workers by the shared cells.

Owns:      when checks are made, who shares them, what is remembered of them, the control process's fields of the cells.
Elsewhere: one check (probe.py); what follows of it (health/rule_health.py); how workers read it (health_view.py).
Shell:     runs in the control process. A target's state is in the cells, so it outlives this process and reloads.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clb.config.models import Listener, LoadBalancer, Rule
from clb.control.events import EventHistory
from clb.control.node import HealthReport, Probe
from clb.health.rule_health import RuleHealth, RuleSettings
from clb.health.slow_start import STEPS, ramped, step
from clb.health.state import Change, Remembered, State
from clb.health.streaks import Failure
from clb.health.windows import JITTER_RATIO, time_to_detect_s, time_to_return_s
from clb.metering.cells import CONTROL, FIELDS, Cells, TargetField, rule_key, target_key
from clb.observe.logging import fields
from clb.service.bundle import Outline
from clb.service.probe import Answer, Question

PARALLEL = 64
"""Checks under way at once; those that hang take their time-out and no more."""
STARTS_PER_S = 500.0
"""First checks of a configuration are spread out to so many."""
FIRST_WITHIN_S = 0.1
REMEMBERED_PROBES = 10
TICK_S = 0.25
LATE = 1.5
"""A check that took so many times its time-out was held up by this process, which says nothing of the real server."""
HASHING = frozenset({"ip_hash", "maglev"})
"""Schedulers that do not know slow start: a share that grows would move clients twice."""

_logger = logging.getLogger(__name__)


class Ask(Protocol):
    """Makes one check."""

    async def ask(self, question: Question) -> Answer:
        """Return what came of it."""


@dataclass(slots=True)
class _Watch:
    """One question that is asked again and again."""

    listeners: set[tuple[str, str]] = field(default_factory=set)
    """Rules and identities that the answer is for."""
    probes: deque[Probe] = field(default_factory=lambda: deque(maxlen=REMEMBERED_PROBES))
    next_at: float | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _WatchedRule:
    health: RuleHealth
    config: Rule
    was_all_out: bool = False


class Prober:
    """One for the node. `update` it with each configuration, `start` and `stop` it, ask it for reports."""

    def __init__(
        self,
        cells: Cells,
        ask: Ask,
        events: EventHistory,
        changed: Callable[[], None],
        wall: Callable[[], float],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._own = cells.columns[CONTROL]
        self._ask = ask
        self._events = events
        self._changed = changed
        self._wall = wall
        self._uniform = uniform
        self._rows: Mapping[str, int] = {}
        self._rules: dict[str, _WatchedRule] = {}
        self._watches: dict[Question, _Watch] = {}
        self._questions: dict[str, Question] = {}
        """By target key."""
        self._places = asyncio.Semaphore(PARALLEL)
        self._ticking: asyncio.Task[None] | None = None
        self.is_started = False
        """Whether checks are made."""

    # --- life ---

    def start(self) -> None:
        """Begin to check."""
        self.is_started = True
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        self._begin(list(self._watches))

    async def stop(self) -> None:
        """End; what is in the cells stays."""
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        tasks += [self._ticking] if self._ticking is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def update(self, outline: Outline) -> None:
        """Watch the targets of this configuration; those that stay keep their state and what is known of them."""
        now = self._wall()
        self._rows = outline.rows
        before, self._rules = self._rules, {}
        wanted: dict[Question, set[tuple[str, str]]] = {}
        self._questions = {}
        is_changed = False
        for key, rule in _rules(outline):
            watched = before.get(key) or _WatchedRule(RuleHealth(), rule)
            watched.config = rule
            self._rules[key] = watched
            weights = {target.identity: target.weight for target in rule.targets}
            remembered = {} if key in before else self._remembered(key, weights)
            settings = RuleSettings(rule.health_check, rule.passive, weights)
            is_changed |= self._apply(key, watched, watched.health.update(settings, now, remembered), is_told=False)
            if rule.health_check.enabled:
                for target in rule.targets:
                    question = Question(target.address, target.port, _host(rule, target.identity), rule.health_check)
                    question = _without_thresholds(question)
                    wanted.setdefault(question, set()).add((key, target.identity))
                    self._questions[target_key(key, target.identity)] = question
        self._watch(wanted)
        if is_changed:
            self._changed()

    def suspected(self, event: Mapping[str, Any]) -> None:
        """Take a worker's word that a target fails real requests; what is not understood is dropped."""
        watched = self._rules.get(str(event.get("rule")))
        try:
            failure, count = Failure(event.get("failure")), int(event.get("count", 0))
        except (TypeError, ValueError):
            return
        if watched is not None:
            identity, detail = str(event.get("target")), str(event.get("detail"))[:200]
            changes = watched.health.suspected(identity, failure, count, detail, self._wall())
            self._take(str(event["rule"]), watched, changes)

    def report(self, target: str) -> HealthReport | None:
        """Say what is known of a target by its key."""
        key, _, identity = target.rpartition(" ")
        watched = self._rules.get(key)
        record = watched.health.targets.get(identity) if watched is not None else None
        if watched is None or record is None:
            return None
        question = self._questions.get(target)
        watch = self._watches.get(question) if question is not None else None
        check = watched.config.health_check
        why = record.why
        if record.not_ejected_because:
            why += f"; not ejected: {record.not_ejected_because}"
        return HealthReport(
            why,
            watch.next_at if watch is not None else None,
            tuple(watch.probes) if watch is not None else (),
            self._effective_weight(watched, identity),
            time_to_detect_s(check) if check.enabled else None,
            time_to_return_s(check) if check.enabled else None,
            record.ejected_until if record.is_ejected else None,
            record.ejections,
        )

    # --- checks ---

    def _watch(self, wanted: Mapping[Question, set[tuple[str, str]]]) -> None:
        for question in [question for question in self._watches if question not in wanted]:
            gone = self._watches.pop(question)
            if gone.task is not None:
                gone.task.cancel()
        new = [question for question in wanted if question not in self._watches]
        for question in new:
            self._watches[question] = _Watch()
        for question, listeners in wanted.items():
            self._watches[question].listeners = listeners
        if self.is_started:
            self._begin(new)

    def _begin(self, questions: Iterable[Question]) -> None:
        loop = asyncio.get_running_loop()
        questions = list(questions)
        within = max(FIRST_WITHIN_S, len(questions) / STARTS_PER_S)
        for question in questions:
            watch = self._watches[question]
            watch.task = loop.create_task(self._check(question, watch, self._uniform(0.0, within)))

    async def _check(self, question: Question, watch: _Watch, wait_s: float) -> None:
        interval = question.check.interval
        while True:
            watch.next_at = self._wall() + wait_s
            await asyncio.sleep(wait_s)
            async with self._places:
                at = self._wall()
                answer = await self._ask.ask(question)
            if not answer.is_good and answer.took_s > question.check.timeout * LATE:
                # This process was late itself, so the real server may have answered in time.
                wait_s = question.check.timeout
                continue
            watch.probes.append(Probe(at, answer.is_good, answer.detail, answer.took_s))
            self._answered(watch, answer)
            # Counted from the end of a check, as the model's formula for the time to detect does.
            wait_s = interval * self._uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO)

    def _answered(self, watch: _Watch, answer: Answer) -> None:
        now = self._wall()
        for key, identity in tuple(watch.listeners):
            watched = self._rules.get(key)
            if watched is not None:
                self._take(key, watched, watched.health.probed(identity, answer.is_good, answer.detail, now))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._wall()
            for key, watched in self._rules.items():
                if watched.health.has_ejections:
                    self._take(key, watched, watched.health.tick(now))

    # --- what follows ---

    def _take(self, key: str, watched: _WatchedRule, changes: list[Change]) -> None:
        if self._apply(key, watched, changes):
            self._changed()

    def _apply(self, key: str, watched: _WatchedRule, changes: list[Change], *, is_told: bool = True) -> bool:
        """Write changes to the cells and tell of them; whether there were any."""
        for change in changes:
            self._write(key, watched, change.identity)
            if is_told:
                self._tell(target_key(key, change.identity), change)
        if watched.health.is_all_out != watched.was_all_out:
            watched.was_all_out = watched.health.is_all_out
            self._tell_all_out(key, watched)
        return bool(changes)

    def _write(self, key: str, watched: _WatchedRule, identity: str) -> None:
        row = self._rows.get(target_key(key, identity))
        record = watched.health.targets.get(identity)
        if row is None or record is None:
            return
        place = row * FIELDS
        # A worker may read between two of these; it reads again when it is told, and the state comes last.
        since = record.serves_since if record.state.takes_work else record.since
        self._own[place + TargetField.SINCE_MS] = int(since * 1000)
        self._own[place + TargetField.UNTIL_MS] = int((record.ejected_until or 0.0) * 1000)
        self._own[place + TargetField.EJECTIONS] = record.ejections
        self._own[place + TargetField.STATE] = record.state

    def _remembered(self, key: str, identities: Iterable[str]) -> dict[str, Remembered]:
        """What the cells say of targets that another control process judged."""
        found = {}
        for identity in identities:
            row = self._rows.get(target_key(key, identity))
            place = row * FIELDS if row is not None else 0
            if row is None or not self._own[place + TargetField.SINCE_MS]:
                continue
            until = self._own[place + TargetField.UNTIL_MS]
            found[identity] = Remembered(
                State(self._own[place + TargetField.STATE]),
                self._own[place + TargetField.SINCE_MS] / 1000,
                until / 1000 if until else None,
                self._own[place + TargetField.EJECTIONS],
            )
        return found

    def _effective_weight(self, watched: _WatchedRule, identity: str) -> float | None:
        """In slow start the share of its weight that a target has got so far; None outside of it."""
        rule, records = watched.config, watched.health.targets
        if not rule.slow_start or rule.scheduler in HASHING:
            return None
        now = self._wall()
        names = [target.identity for target in rule.targets]
        taking = [name for name in names if records[name].state.takes_work]
        steps = [step(records[name].serves_since, now, rule.slow_start) if name in taking else 0 for name in names]
        weights = [records[name].weight for name in names]
        place = names.index(identity)
        if ramped(weights, steps) == weights:
            return None
        return weights[place] * steps[place] / STEPS

    def _tell(self, target: str, change: Change) -> None:
        before = change.before.name.lower() if change.before is not None else None
        after = change.after.name.lower()
        self._events.add("target_health", change.cause, target, before=before, after=after)
        level = logging.INFO if change.after.takes_work else logging.WARNING
        _logger.log(level, "target health", extra=fields(target=target, before=before, after=after, cause=change.cause))

    def _tell_all_out(self, key: str, watched: _WatchedRule) -> None:
        if watched.health.is_all_out:
            what = "all get traffic" if watched.config.all_dead == "serve" else "requests are answered 503"
            cause = f"every target of the rule is out: {what}"
            _logger.error("all targets are out", extra=fields(rule=key, all_dead=watched.config.all_dead))
        else:
            cause = "a target of the rule takes work again"
            _logger.info("no longer all targets are out", extra=fields(rule=key))
        self._events.add("rule_health", cause, key, all_out=watched.health.is_all_out)


def _rules(outline: Outline) -> Iterable[tuple[str, Rule]]:
    def each(balancer: LoadBalancer, listener: Listener) -> Iterable[tuple[str, Rule]]:
        for rule in listener.rules:
            if rule.redirect is None:
                yield rule_key(balancer.name, listener.name, rule.domain, rule.url), rule

    for balancer in outline.config.served:
        for listener in balancer.listeners:
            yield from each(balancer, listener)


def _host(rule: Rule, identity: str) -> str:
    """Host header of a check: as configured, else the rule's domain, else (a pattern) the real server's address."""
    check = rule.health_check
    if check.type == "tcp":
        return ""
    is_pattern = rule.domain.startswith(("~", "*.")) or rule.domain.endswith(".*")
    return check.host or (identity if is_pattern else rule.domain)


def _without_thresholds(question: Question) -> Question:
    """Rules that differ in what they make of answers only can share them; the host is in the question already."""
    check = question.check.model_copy(update={"healthy": 1, "unhealthy": 1, "host": None})
    return Question(question.address, question.port, question.host, check)
