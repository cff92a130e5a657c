"""Decide which targets of one rule take work, from probes, from what real requests met, and from time.

Owns:      the state of each target and every change of it, with its cause; the bounds of ejection.
Elsewhere: making probes (service/prober.py); counting failures of requests (streaks.py); what schedulers do when
           nobody takes work (balancing/candidate.py, service/health_view.py).
Pure:      time is passed in, changes are returned.

A target has a verdict of its checks, and beside it an ejection may run; its state is made of both. A failed check keeps
it out whatever the ejection says, and a good one does not end an ejection: the check has been good all along while
requests failed.

Always true afterwards, whatever was called (`_settle`):
  - no more are ejected than the share allows, and never the last one that could take work;
  - if nobody takes work, there is no one left who is merely not proved yet: all are known to be bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clb.config.rules import HealthCheck, Passive
from clb.health.ejection import ejection_s, ejections_left, most_ejected
from clb.health.state import Change, Remembered, State
from clb.health.streaks import Failure
from clb.units import format_duration

_UNPROVED = (State.CHECKING, State.PROVISIONAL)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What of a rule's configuration health depends on."""

    check: HealthCheck
    passive: Passive
    weights: Mapping[str, int]
    """Configured weights by the targets' identities."""


@dataclass(slots=True)
class TargetRecord:
    """All that is known of one target."""

    identity: str
    weight: int
    verdict: State
    """Of its checks; never EJECTED."""
    since: float
    """When the state began."""
    serves_since: float
    """When it began to take work, if it does: slow start counts from here."""
    why: str
    streak: int = 0
    """Probes in a row: good ones above 0, failed ones below."""
    is_ejected: bool = False
    ejected_until: float | None = None
    """End of the running ejection, or of the last."""
    ejections: int = 0
    not_ejected_because: str = field(default="")
    """Why the last proposal was not followed, since the last ejection."""

    @property
    def state(self) -> State:
        """What others see."""
        return State.EJECTED if self.is_ejected and self.verdict.takes_work else self.verdict


class RuleHealth:
    """The targets of one rule."""

    def __init__(self) -> None:
        self.targets: dict[str, TargetRecord] = {}
        self.is_all_out = False
        """The rule has targets with a weight, and none of them takes work."""
        self._settings = RuleSettings(HealthCheck(), Passive(), {})

    # --- what happens ---

    def update(self, settings: RuleSettings, now: float, remembered: Mapping[str, Remembered]) -> list[Change]:
        """Take another configuration. Targets that stay keep their state, new ones get what is remembered of them."""
        changes: list[Change] = []
        self._settings = settings
        self.targets = {identity: one for identity, one in self.targets.items() if identity in settings.weights}
        for target in self.targets.values():
            target.weight = settings.weights[target.identity]
            self._switch_check(target, now, changes)
        restored = [
            self._restore(identity, remembered[identity], now, changes)
            for identity in settings.weights
            if identity not in self.targets and identity in remembered
        ]
        self.targets.update((target.identity, target) for target in restored)
        first = self._first_verdict()
        for identity, weight in settings.weights.items():
            if identity not in self.targets:
                self.targets[identity] = TargetRecord(identity, weight, first, now, now, "new")
                changes.append(Change(identity, None, first, "new"))
        self._settle(now, changes)
        return changes

    def probed(self, identity: str, is_good: bool, detail: str, now: float) -> list[Change]:
        """Take the result of a check; `detail` says what was wrong with it."""
        changes: list[Change] = []
        target = self.targets.get(identity)
        if target is None or target.verdict is State.UNCHECKED:
            return changes
        if is_good:
            target.streak = max(target.streak, 0) + 1
            self._probe_was_good(target, now, changes)
        else:
            target.streak = min(target.streak, 0) - 1
            self._probe_failed(target, detail, now, changes)
        self._settle(now, changes)
        return changes

    def suspected(self, identity: str, failure: Failure, count: int, detail: str, now: float) -> list[Change]:
        """Take a worker's proposal to eject a target."""
        changes: list[Change] = []
        target = self.targets.get(identity)
        if target is None or target.is_ejected or not target.state.takes_work or not target.weight:
            return changes
        if not getattr(self._settings.passive, failure.value):
            return changes
        reason = f"{count} {failure.value.replace('_', ' ')} in a row: {detail}"
        obstacle = self._obstacle_to_ejecting(target)
        if obstacle:
            target.not_ejected_because = f"{obstacle} ({reason})"
            return changes
        self._eject(target, reason, now, changes)
        self._settle(now, changes)
        return changes

    def tick(self, now: float) -> list[Change]:
        """End the ejections whose time is over."""
        changes: list[Change] = []
        for target in self.targets.values():
            if target.is_ejected and target.ejected_until is not None and now >= target.ejected_until:
                self._end_ejection(target, "its ejection is over", target.ejected_until, now, changes)
        self._settle(now, changes)
        return changes

    @property
    def has_ejections(self) -> bool:
        """Whether `tick` has anything to wait for."""
        return any(target.is_ejected for target in self.targets.values())

    # --- verdicts ---

    def _first_verdict(self) -> State:
        if not self._settings.check.enabled:
            return State.UNCHECKED
        is_served = any(target.weight and target.state.takes_work for target in self.targets.values())
        return State.CHECKING if is_served else State.PROVISIONAL

    def _switch_check(self, target: TargetRecord, now: float, changes: list[Change]) -> None:
        is_unchecked = target.verdict is State.UNCHECKED
        if self._settings.check.enabled == is_unchecked:
            target.streak = 0
            # It has taken work until now, and no check has failed.
            verdict, word = (State.PROVISIONAL, "on") if is_unchecked else (State.UNCHECKED, "off")
            self._move(target, now, f"checks are switched {word}", changes, verdict=verdict)

    def _restore(self, identity: str, known: Remembered, now: float, changes: list[Change]) -> TargetRecord:
        verdict = known.state
        if not self._settings.check.enabled:
            verdict = State.UNCHECKED
        elif verdict is State.EJECTED:
            verdict = State.HEALTHY
        elif verdict is State.UNCHECKED:
            verdict = State.PROVISIONAL
        since = min(known.since, now)
        target = TargetRecord(
            identity, self._settings.weights[identity], verdict, since, since, known.why or "restored"
        )
        target.ejections = known.ejections
        if known.ejected_until is not None:
            # No ejection can end later than this, whatever clocks or files say.
            target.ejected_until = min(known.ejected_until, now + self._settings.passive.ejection_maximum)
            target.is_ejected = target.ejected_until > now
        if target.state is not known.state:
            target.since = target.serves_since = now
        changes.append(Change(identity, None, target.state, "as it was before the restart"))
        return target

    def _probe_was_good(self, target: TargetRecord, now: float, changes: list[Change]) -> None:
        if target.verdict is not State.HEALTHY and target.streak >= self._settings.check.healthy:
            cause = _in_a_row(target.streak, "was good", "were good")
            self._move(target, now, cause, changes, verdict=State.HEALTHY)

    def _probe_failed(self, target: TargetRecord, detail: str, now: float, changes: list[Change]) -> None:
        failed = -target.streak
        if target.verdict in _UNPROVED:
            # It has nothing to lose: whoever has not proved itself takes no work beside those who have.
            self._move(target, now, f"a probe failed before it was proved: {detail}", changes, verdict=State.UNHEALTHY)
        elif target.verdict is State.HEALTHY and failed >= self._settings.check.unhealthy:
            cause = f"{_in_a_row(failed, 'failed', 'failed')}: {detail}"
            self._move(target, now, cause, changes, verdict=State.UNHEALTHY)

    # --- ejections ---

    def _weighted(self) -> list[TargetRecord]:
        return [target for target in self.targets.values() if target.weight]

    def _obstacle_to_ejecting(self, target: TargetRecord) -> str:
        weighted = self._weighted()
        if not any(other.state.takes_work for other in weighted if other is not target):
            return "no other target takes work"
        share = self._settings.passive.share
        if sum(other.is_ejected for other in weighted) >= most_ejected(len(weighted), share):
            return f"no more than {share:.0%} of the rule's targets may be ejected"
        return ""

    def _eject(self, target: TargetRecord, reason: str, now: float, changes: list[Change]) -> None:
        passive = self._settings.passive
        if target.ejected_until is not None:
            target.ejections = ejections_left(target.ejections, target.ejected_until, now, passive)
        target.ejections += 1
        length = ejection_s(passive, target.ejections)
        target.ejected_until = now + length
        target.not_ejected_because = ""
        self._move(target, now, f"ejected for {format_duration(length)}: {reason}", changes, is_ejected=True)

    def _end_ejection(
        self, target: TargetRecord, cause: str, ended_at: float, now: float, changes: list[Change]
    ) -> None:
        target.ejected_until = ended_at
        self._move(target, now, cause, changes, is_ejected=False)

    # --- what holds afterwards ---

    def _settle(self, now: float, changes: list[Change]) -> None:
        """Restore the invariants in the module's text."""
        weighted = self._weighted()
        ejected = sorted((one for one in weighted if one.is_ejected), key=lambda one: one.ejected_until or 0.0)
        surplus = len(ejected) - most_ejected(len(weighted), self._settings.passive.share)
        for target in ejected[: max(surplus, 0)]:
            self._end_ejection(target, "its ejection was ended: too many are ejected for the rule", now, now, changes)
        if not any(target.state.takes_work for target in weighted):
            for target in weighted:
                self._fall_back_on(target, now, changes)
        self.is_all_out = bool(weighted) and not any(target.state.takes_work for target in weighted)

    def _fall_back_on(self, target: TargetRecord, now: float, changes: list[Change]) -> None:
        """Nobody takes work: let those do it of whom no check says that they are bad."""
        if target.verdict is State.CHECKING:
            cause = "no target of the rule is known to be better"
            self._move(target, now, cause, changes, verdict=State.PROVISIONAL)
        if target.state is State.EJECTED:
            self._end_ejection(target, "its ejection was ended: no other target takes work", now, now, changes)

    def _move(
        self,
        target: TargetRecord,
        now: float,
        cause: str,
        changes: list[Change],
        *,
        verdict: State | None = None,
        is_ejected: bool | None = None,
    ) -> None:
        """Change verdict or ejection, and tell of it if the state became another."""
        before = target.state
        target.verdict = target.verdict if verdict is None else verdict
        target.is_ejected = target.is_ejected if is_ejected is None else is_ejected
        after = target.state
        if after is before:
            return
        if after is State.EJECTED and is_ejected is None:
            cause += "; an ejection keeps it out"
        target.since, target.why = now, cause
        if after.takes_work and not before.takes_work:
            target.serves_since = now
        changes.append(Change(target.identity, before, after, cause))


def _in_a_row(count: int, one: str, many: str) -> str:
    return f"a probe {one}" if count == 1 else f"{count} probes in a row {many}"
