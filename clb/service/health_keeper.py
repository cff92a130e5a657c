"""Hold what the node knows of its targets' health, and carry every decision to where it is needed.

Owns:      one `RuleHealth` for each rule; events, log, cells and file of what it decides; reports for status.
Elsewhere: the decisions (health/rule_health.py); checks (prober.py); what workers make of them (health_view.py).
Shell:     in the control process, called between two steps of the loop; makes no checks and waits for nobody.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clb.config.models import Rule
from clb.control.events import EventHistory
from clb.control.node import HealthChange
from clb.health.rule_health import RuleHealth, RuleSettings, TargetRecord
from clb.health.slow_start import RAMPING_SCHEDULERS, STEPS, step
from clb.health.state import Change, Remembered, State
from clb.health.streaks import Failure
from clb.metering.cells import target_key
from clb.observe.logging import fields
from clb.service.health_cells import Clocks, HealthCells
from clb.service.health_file import HealthFile

REMEMBERED_CHANGES = 10
SAVE_INTERVAL_S = 1.0
SAVING_SHARE = 200
"""One part in so many of the time goes into saving: five thousand targets take a tenth of a second."""
TOUCH_INTERVAL_S = 10.0
MOST_TOUCHED = 200
"""Rules that workers are told of one by one; if there are more, they look at all."""
_LONGEST_DETAIL = 200
_MOST_FAILURES = 1_000_000

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class KeptRule:
    """A rule, its targets' states, and their last changes."""

    config: Rule
    health: RuleHealth = field(default_factory=RuleHealth)
    changes: dict[str, deque[HealthChange]] = field(default_factory=dict)
    was_all_out: bool = False


class HealthKeeper:
    """One for the node."""

    def __init__(
        self,
        cells: HealthCells,
        clocks: Clocks,
        events: EventHistory,
        changed: Callable[[], None],
        file: HealthFile | None,
        ejections: Counter[str] | None = None,
    ) -> None:
        self._cells = cells
        self._clocks = clocks
        self._events = events
        self._changed = changed
        self._file = file
        self._ejections = Counter[str]() if ejections is None else ejections
        self._rules: dict[str, KeptRule] = {}
        self._touched: set[str] = set()
        self._knows_touched = True
        self._is_first = True
        self._is_saved = True
        self._saving_s = 0.0
        self._saved_at = self._touched_at = float("-inf")

    # --- what happens ---

    def update(self, rules: Mapping[str, Rule], rows: Mapping[str, int]) -> None:
        """Take another configuration: targets that stay keep their state, those that are gone are forgotten."""
        kept = {target_key(key, target.identity) for key, rule in rules.items() for target in rule.targets}
        for key in [key for key, *_ in self._targets() if key not in kept]:
            self._cells.forget(key)
        self._cells.rows = rows
        from_file = self._file.load() if self._is_first and self._file is not None else {}
        before, self._rules = self._rules, {}
        is_changed = False
        for key, config in rules.items():
            rule = self._rules[key] = before.get(key) or KeptRule(config)
            rule.config = config
            is_changed |= self._reconfigure(
                key, rule, {} if key in before else self._remembered(key, config, from_file)
            )
        self._is_first = False
        if is_changed:
            self._knows_touched = False
            self._changed()

    def update_some(self, rules: Mapping[str, Rule | None], rows: Mapping[str, int]) -> None:
        """Take over that some rules are new or changed, or (None) gone; the others are as they were."""
        for key, config in rules.items():
            kept = {target.identity for target in config.targets} if config is not None else set()
            known = self._rules[key].health.targets if key in self._rules else {}
            for identity in known:
                if identity not in kept:
                    self._cells.forget(target_key(key, identity))
        self._cells.rows = rows
        is_changed = False
        for key, config in rules.items():
            if config is None:
                self._rules.pop(key, None)
                continue
            is_new = key not in self._rules
            rule = self._rules.setdefault(key, KeptRule(config))
            rule.config = config
            if self._reconfigure(key, rule, self._remembered(key, config, {}) if is_new else {}):
                is_changed = True
                self._touched.add(key)
        if is_changed:
            self._changed()

    def touched(self) -> list[str] | None:
        """Keys of the rules whose targets' states changed since this was asked last; None if that may be all."""
        touched, self._touched = self._touched, set()
        is_known, self._knows_touched = self._knows_touched, True
        return sorted(touched) if is_known and len(touched) <= MOST_TOUCHED else None

    def probed(self, key: str, identity: str, is_good: bool, detail: str) -> None:
        """Take the result of a check for one target of a rule."""
        rule = self._rules.get(key)
        if rule is not None:
            self._take(key, rule, rule.health.probed(identity, is_good, detail, self._clocks.now()))

    def suspected(self, event: Mapping[str, Any]) -> None:
        """Take a worker's word that a target fails real requests; what is not understood is dropped."""
        try:
            failure, count = Failure(event.get("failure")), int(event.get("count", 0))
        except (TypeError, ValueError):
            return
        key, identity = str(event.get("rule")), str(event.get("target"))
        rule = self._rules.get(key)
        if rule is not None and 0 < count <= _MOST_FAILURES:
            detail = str(event.get("detail"))[:_LONGEST_DETAIL]
            self._take(key, rule, rule.health.suspected(identity, failure, count, detail, self._clocks.now()))

    def tick(self) -> None:
        """Do what is due by time."""
        now = self._clocks.now()
        for key, rule in self._rules.items():
            if rule.health.has_ejections:
                self._take(key, rule, rule.health.tick(now))
        if not self._is_saved and now - self._saved_at >= max(SAVE_INTERVAL_S, SAVING_SHARE * self._saving_s):
            self.save()
        elif self._file is not None and now - self._touched_at >= TOUCH_INTERVAL_S:
            self._touched_at = now
            self._file.touch()

    def save(self) -> None:
        """Write down how all targets stand."""
        if self._file is None:
            return
        to_wall, began = self._clocks.to_wall, self._clocks.now()
        known = {}
        for key, _, record in self._targets():
            since = record.serves_since if record.state.takes_work else record.since
            until = to_wall(record.ejected_until) if record.ejected_until is not None else None
            known[key] = Remembered(record.state, to_wall(since), until, record.ejections, record.why)
        self._file.save(known)
        self._is_saved = True
        self._saved_at = self._touched_at = self._clocks.now()
        self._saving_s = self._saved_at - began

    # --- what may be asked ---

    def identities(self, key: str) -> list[str]:
        """The targets of a rule that are known."""
        rule = self._rules.get(key)
        return list(rule.health.targets) if rule is not None else []

    def find(self, key: str, identity: str) -> tuple[KeptRule, TargetRecord] | None:
        """Return a rule and one of its targets."""
        rule = self._rules.get(key)
        record = rule.health.targets.get(identity) if rule is not None else None
        return (rule, record) if rule is not None and record is not None else None

    def effective_weight(self, rule: KeptRule, record: TargetRecord) -> float | None:
        """In slow start the share of its weight that a target has got so far; None outside of it."""
        config = rule.config
        if not config.slow_start or config.scheduler not in RAMPING_SCHEDULERS or not record.state.takes_work:
            return None
        now = self._clocks.now()

        def step_of(target: TargetRecord) -> int:
            return step(target.serves_since, now, config.slow_start)

        own = step_of(record)
        # Where all stand at the same step nobody is behind the others.
        others = (one for one in rule.health.targets.values() if one.weight and one.state.takes_work)
        if own == STEPS or all(step_of(other) == own for other in others):
            return None
        return record.weight * own / STEPS

    # --- what follows ---

    def _targets(self) -> Iterator[tuple[str, KeptRule, TargetRecord]]:
        for key, rule in self._rules.items():
            for identity, record in rule.health.targets.items():
                yield target_key(key, identity), rule, record

    def _remembered(self, key: str, config: Rule, from_file: Mapping[str, Remembered]) -> dict[str, Remembered]:
        """What the cells say, which are up to date, else what the file says."""
        from_wall = self._clocks.from_wall
        found = {}
        for identity in (target.identity for target in config.targets):
            target = target_key(key, identity)
            in_cells, in_file = self._cells.remembered(target), from_file.get(target)
            if in_cells is not None:
                is_same = in_file is not None and in_file.state is in_cells.state
                found[identity] = in_cells if in_file is None or not is_same else _with_reason(in_cells, in_file.why)
            elif in_file is not None:
                until = in_file.ejected_until
                found[identity] = Remembered(
                    in_file.state,
                    from_wall(in_file.since),
                    from_wall(until) if until is not None else None,
                    in_file.ejections,
                    in_file.why,
                )
        return found

    def _reconfigure(self, key: str, rule: KeptRule, remembered: Mapping[str, Remembered]) -> bool:
        config = rule.config
        weights = {target.identity: target.weight for target in config.targets}
        rule.changes = {identity: changes for identity, changes in rule.changes.items() if identity in weights}
        settings = RuleSettings(config.health_check, config.passive, weights)
        changes = rule.health.update(settings, self._clocks.now(), remembered)
        # At the start all are new, or as they were: nothing has happened that would be worth an event.
        return self._apply(key, rule, changes, is_told=not self._is_first)

    def _take(self, key: str, rule: KeptRule, changes: list[Change]) -> None:
        if self._apply(key, rule, changes, is_told=True):
            self._touched.add(key)
            self._changed()

    def _apply(self, key: str, rule: KeptRule, changes: list[Change], *, is_told: bool) -> bool:
        """Write changes to the cells and tell of them; whether there were any."""
        for change in changes:
            self._cells.write(target_key(key, change.identity), rule.health.targets[change.identity])
            self._note(rule, change)
            # One that a check had out already, or that was restored, is not ejected again by that.
            if change.after is State.EJECTED and change.before is not None and change.before.takes_work:
                self._ejections[target_key(key, change.identity)] += 1
            if is_told:
                self._tell(target_key(key, change.identity), change)
        if rule.health.is_all_out != rule.was_all_out:
            rule.was_all_out = rule.health.is_all_out
            self._tell_all_out(key, rule)
        if changes:
            self._is_saved = False
        return bool(changes)

    def _note(self, rule: KeptRule, change: Change) -> None:
        noted = rule.changes.get(change.identity)
        if noted is None:
            noted = rule.changes[change.identity] = deque(maxlen=REMEMBERED_CHANGES)
        noted.append(HealthChange(self._clocks.wall(), _word(change.before), change.after.name.lower(), change.cause))

    def _tell(self, target: str, change: Change) -> None:
        before, after = _word(change.before), change.after.name.lower()
        self._events.add("target_health", change.cause, target, before=before, after=after)
        level = logging.INFO if change.after.takes_work or before is None else logging.WARNING
        _logger.log(level, "target health", extra=fields(target=target, before=before, after=after, cause=change.cause))

    def _tell_all_out(self, key: str, rule: KeptRule) -> None:
        all_dead = rule.config.all_dead
        if rule.health.is_all_out:
            what = "all get traffic" if all_dead == "serve" else "requests are answered 503"
            cause = f"every target of the rule is out: {what}"
            _logger.error("all targets are out", extra=fields(rule=key, all_dead=all_dead))
        else:
            cause = "a target of the rule takes work again"
            _logger.info("no longer all targets are out", extra=fields(rule=key))
        self._events.add("rule_health", cause, key, all_out=rule.health.is_all_out, all_dead=all_dead)


def _with_reason(known: Remembered, why: str) -> Remembered:
    return Remembered(known.state, known.since, known.ejected_until, known.ejections, why)


def _word(state: State | None) -> str | None:
    return None if state is None else state.name.lower()
