"""Find out for the whole node which real servers take work: ask each of them again and again.

Owns:      when checks are made, who shares them, how many at once; what the last ones said.
Elsewhere: one check (probe.py); what follows of it, and who is told (health_keeper.py).
Shell:     a task for each check, in the control process.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clb.config.models import Rule
from clb.control.events import EventHistory
from clb.control.node import HealthReport, Probe
from clb.health.windows import JITTER_RATIO, time_to_detect_s, time_to_return_s
from clb.metering.cells import Cells, rule_key
from clb.service.bundle import Outline
from clb.service.health_cells import Clocks, HealthCells
from clb.service.health_file import HealthFile
from clb.service.health_keeper import HealthKeeper
from clb.service.outline_parts import Differences, differences
from clb.service.places import Places
from clb.service.probe import Answer, Question

FEWEST_PLACES, MOST_PLACES = 64, 2048
_HEADROOM = 1.25
"""Over what would be under way at once if every real server hung."""
STARTS_PER_S = 500.0
"""First checks of a configuration are spread out to so many."""
FIRST_WITHIN_S = 0.1
REMEMBERED_PROBES = 10
TICK_S = 0.25
NOTICE_INTERVAL_S = 0.05
"""Workers are told of changes at most so often: each look takes them a moment, and a thousand may change at once."""
_SLOW_RATIO = 0.5
"""A check that took so much of its time-out, or failed after it, is likely to do so again."""
_MOST_OWN_FAULTS = 3
"""In a row; then a failure counts, whoever's it is."""

_logger = logging.getLogger(__name__)


class Ask(Protocol):
    """Makes one check."""

    async def ask(self, question: Question) -> Answer:
        """Return what came of it."""

    def keep_only(self, hosts: set[str]) -> None:
        """Forget whatever is known of other real servers than these."""


@dataclass(slots=True)
class _Watch:
    """One question that is asked again and again."""

    listeners: set[tuple[str, str]] = field(default_factory=set)
    """Rules and identities that the answer is for."""
    probes: deque[Probe] = field(default_factory=lambda: deque(maxlen=REMEMBERED_PROBES))
    next_at: float | None = None
    is_slow: bool = False
    own_faults: int = 0
    task: asyncio.Task[None] | None = None


class Prober:
    """One for the node. `update` it with each configuration, `start` and `stop` it, ask it for reports."""

    def __init__(
        self,
        cells: Cells,
        ask: Ask,
        events: EventHistory,
        changed: Callable[[list[str] | None], None],
        wall: Callable[[], float],
        *,
        file: HealthFile | None = None,
        ejections: Counter[str] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        clocks = Clocks(wall, steady)
        self._ask = ask
        self._changed = changed
        self._wall = wall
        self._uniform = uniform
        self._keeper = HealthKeeper(HealthCells(cells, clocks), clocks, events, self._notify, file, ejections)
        self._clocks = clocks
        self._outline: Outline | None = None
        self._watches: dict[Question, _Watch] = {}
        self._questions: dict[tuple[str, str], Question] = {}
        """By rule and identity."""
        self._places = Places(FEWEST_PLACES)
        self._ticking: asyncio.Task[None] | None = None
        self._notice: asyncio.TimerHandle | None = None
        self._noticed_at = float("-inf")
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
        if self._notice is not None:
            self._notice.cancel()
        if self.is_started:
            self._keeper.save()

    def update(self, outline: Outline, found: Differences | None = None) -> None:
        """Watch the targets of this configuration; those that stay keep their state and what is known of them."""
        before, self._outline = self._outline, outline
        if before is not None:
            found = found or differences(before.config, outline.config)
            self._update_some(found.rules, outline)
            return
        rules = dict(_rules(outline))
        self._keeper.update(rules, outline.rows)
        self._questions = {
            (key, target.identity): _question(rule, target.address, target.port, target.identity)
            for key, rule in rules.items()
            if rule.health_check.enabled
            for target in rule.targets
        }
        wanted: dict[Question, set[tuple[str, str]]] = {}
        for listener, question in self._questions.items():
            wanted.setdefault(question, set()).add(listener)
        self._places.size = _places_for(wanted)
        self._ask.keep_only({question.address for question in wanted})
        self._watch(wanted)

    def _update_some(self, rules: Mapping[str, Rule | None], outline: Outline) -> None:
        """The same, looking at nothing but the rules that are new, changed or gone (None)."""
        wanted = {key: rule if rule is not None and rule.redirect is None else None for key, rule in rules.items()}
        identities = {key: self._keeper.identities(key) for key in rules}
        self._keeper.update_some(wanted, outline.rows)
        touched: dict[Question, None] = {}
        for key in rules:
            for identity in identities[key]:
                if (question := self._questions.pop((key, identity), None)) is not None:
                    self._watches[question].listeners.discard((key, identity))
                    touched[question] = None
        new: list[Question] = []
        for key, rule in wanted.items():
            if rule is None or not rule.health_check.enabled:
                continue
            for target in rule.targets:
                question = _question(rule, target.address, target.port, target.identity)
                self._questions[key, target.identity] = question
                if question not in self._watches:
                    self._watches[question] = _Watch()
                    new.append(question)
                self._watches[question].listeners.add((key, target.identity))
        gone = [question for question in touched if not self._watches[question].listeners]
        self._end(gone)
        if new or gone:
            self._places.size = _places_for(self._watches)
            self._ask.keep_only({question.address for question in self._watches})
        if self.is_started:
            self._begin(new)

    def _end(self, questions: Iterable[Question]) -> None:
        for question in questions:
            gone = self._watches.pop(question)
            if gone.task is not None:
                gone.task.cancel()

    def suspected(self, event: Mapping[str, Any]) -> None:
        """Take a worker's word that a target fails real requests."""
        self._keeper.suspected(event)

    def report(self, target: str) -> HealthReport | None:
        """Say what is known of a target by its key."""
        key, _, identity = target.rpartition(" ")
        found = self._keeper.find(key, identity)
        if found is None:
            return None
        rule, record = found
        watch = self._watches.get(self._questions[key, identity]) if (key, identity) in self._questions else None
        check = rule.config.health_check
        why = record.why
        if record.not_ejected_because:
            why += f"; not ejected: {record.not_ejected_because}"
        return HealthReport(
            why,
            watch.next_at if watch is not None else None,
            tuple(watch.probes) if watch is not None else (),
            self._keeper.effective_weight(rule, record),
            time_to_detect_s(check) if check.enabled else None,
            time_to_return_s(check) if check.enabled else None,
            self._clocks.to_wall(record.ejected_until or 0.0) if record.is_ejected else None,
            record.ejections,
            tuple(rule.changes.get(identity, ())),
        )

    # --- checks ---

    def _watch(self, wanted: Mapping[Question, set[tuple[str, str]]]) -> None:
        self._end([question for question in self._watches if question not in wanted])
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
        while True:
            watch.next_at = self._wall() + wait_s
            await asyncio.sleep(wait_s)
            try:
                wait_s = await self._check_once(question, watch)
            except Exception:
                # A defect in one check must not leave its target unwatched for ever.
                _logger.exception("a check failed")
                wait_s = question.check.interval

    async def _check_once(self, question: Question, watch: _Watch) -> float:
        """Ask, and tell of the answer; return how long to wait before the next time."""
        check = question.check
        async with self._places.place(is_slow=watch.is_slow):
            at = self._wall()
            answer = await self._ask.ask(question)
        watch.is_slow = answer.took_s >= check.timeout * _SLOW_RATIO
        watch.probes.append(Probe(at, answer.is_good, answer.detail, answer.took_s))
        watch.own_faults = watch.own_faults + 1 if answer.is_own_fault else 0
        if answer.is_own_fault and watch.own_faults <= _MOST_OWN_FAULTS:
            return check.timeout
        for key, identity in tuple(watch.listeners):
            self._keeper.probed(key, identity, answer.is_good, answer.detail)
        # Counted from the end of a check, as the model's formula for the time to detect does.
        return check.interval * self._uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._keeper.tick()

    # --- telling ---

    def _notify(self) -> None:
        if self._notice is None:
            loop = asyncio.get_running_loop()
            due_at = max(loop.time(), self._noticed_at + NOTICE_INTERVAL_S)
            self._notice = loop.call_at(due_at, self._tell_workers)

    def _tell_workers(self) -> None:
        self._notice = None
        self._noticed_at = asyncio.get_running_loop().time()
        self._changed(self._keeper.touched())


def _rules(outline: Outline) -> Iterator[tuple[str, Rule]]:
    for balancer in outline.config.served:
        for listener in balancer.listeners:
            for rule in listener.rules:
                if rule.redirect is None:
                    yield rule_key(balancer.name, listener.name, rule.domain, rule.url), rule


def _question(rule: Rule, address: str, port: int, identity: str) -> Question:
    """Rules that differ in what they make of answers only share the check; the host is in the question already."""
    check = rule.health_check.model_copy(update={"healthy": 1, "unhealthy": 1, "host": None})
    return Question(address, port, _host(rule, identity), check)


def _host(rule: Rule, identity: str) -> str:
    """Host header of a check: as configured, else the rule's domain, else (a pattern) the real server's address."""
    check = rule.health_check
    if check.type == "tcp":
        return ""
    is_pattern = rule.domain.startswith(("~", "*.")) or rule.domain.endswith(".*")
    return check.host or (identity if is_pattern else rule.domain)


def _places_for(questions: Iterable[Question]) -> int:
    """Return how many checks may be under way: enough for all real servers to hang at once, within reason."""
    hanging = sum(one.check.timeout / (one.check.timeout + one.check.interval) for one in questions)
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_PLACES if descriptors == resource.RLIM_INFINITY else min(MOST_PLACES, descriptors // 2)
    return max(FEWEST_PLACES, min(most, math.ceil(hanging * _HEADROOM)))
