"""Let a worker's schedulers obey what the control process decided on health.

Owns:      reading the states in the shared cells, and setting availability and weights by them.
Elsewhere: the decisions (health_keeper.py, health/); what schedulers make of it (balancing/).

The cells are read when the supervisor says that something changed, for a rule that is made or changed before a request
meets it, and in the sweep for rules with a target in slow start. All of them are read in steps: there may be thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from operator import mul

from clb.health.slow_start import RAMPING_SCHEDULERS, STEPS, ramped, step
from clb.metering.cells import CONTROL, FIELDS, Cells, TargetField, TargetState, target_key
from clb.proxy.listener import ListenerRuntime
from clb.proxy.node_share import NodeShare
from clb.proxy.rule import RuleRuntime

_RULES_IN_A_STEP = 20
_TAKE_WORK = frozenset(int(state) for state in TargetState if state.takes_work)


class HealthView:
    """One for the life of a worker."""

    def __init__(
        self,
        listeners: Callable[[], Mapping[str, ListenerRuntime]],
        cells: Cells,
        share: NodeShare,
        wall: Callable[[], float],
    ) -> None:
        self._listeners = listeners
        self._states = cells.columns[CONTROL]
        self._share = share
        self._wall = wall
        self._ramping: dict[RuleRuntime, str] = {}
        self._by_name: dict[str, tuple[Sequence[RuleRuntime], dict[str, RuleRuntime]]] = {}
        """Rules of listeners by name, valid for as long as the listener has that list of rules."""

    def refresh_in_steps(self) -> Generator[None, None, None]:
        """Read everything again, some rules at a time."""
        for key, listener in tuple(self._listeners().items()):
            for number, rule in enumerate(listener.rules, 1):
                self.look_at(key, rule)
                if number % _RULES_IN_A_STEP == 0:
                    yield
        serving = {rule for listener in self._listeners().values() for rule in listener.rules} if self._ramping else ()
        self._ramping = {rule: key for rule, key in self._ramping.items() if rule in serving}

    def refresh_some(self, rules: Iterable[str]) -> Generator[None, None, None]:
        """Read again what is said of a few rules, by `rule_key`."""
        for key in rules:
            listener, _, name = key.partition(" ")
            rule = self._named(listener, name)
            if rule is not None:
                self.look_at(listener, rule)
            yield

    def _named(self, listener: str, name: str) -> RuleRuntime | None:
        runtime = self._listeners().get(listener)
        if runtime is None:
            self._by_name.pop(listener, None)
            return None
        known = self._by_name.get(listener)
        if known is None or known[0] is not runtime.rules:
            known = self._by_name[listener] = runtime.rules, {rule.name: rule for rule in runtime.rules}
        return known[1].get(name)

    def sweep(self, _: float) -> None:
        """Let those in slow start grow."""
        for rule, key in tuple(self._ramping.items()):
            self.look_at(key, rule)

    def look_at(self, listener: str, rule: RuleRuntime) -> None:
        """Read what is said of one rule's targets."""
        if self._look_at(listener, rule, self._wall()):
            self._ramping[rule] = listener
        else:
            self._ramping.pop(rule, None)

    def _look_at(self, listener: str, rule: RuleRuntime, now: float) -> bool:
        """Set what schedulers see of a rule's targets; whether a target is in slow start."""
        config = rule.config
        weights = [target.weight for target in config.targets]
        places = [self._place(f"{listener} {rule.name}", candidate.identity) for candidate in rule.candidates]
        takes = self._takes(rule, places, weights)
        steps = [STEPS if is_taking else 0 for is_taking in takes]
        if config.slow_start and config.scheduler in RAMPING_SCHEDULERS:
            steps = [
                step(self._since_s(place), now, config.slow_start) if is_taking else 0
                for place, is_taking in zip(places, takes, strict=True)
            ]
        if config.all_dead == "refuse" and not any(map(mul, takes, weights)):
            weights = [0] * len(weights)  # Who has no weight takes no work, even if all are out.
        else:
            weights = ramped(weights, steps)
        self._set(rule, takes, weights)
        return any(0 < each < STEPS for each in steps)

    def _takes(self, rule: RuleRuntime, places: list[int | None], weights: list[int]) -> list[bool]:
        """Which targets take work. One that nobody has judged yet takes none beside those that do."""
        states, is_checked = self._states, rule.config.health_check.enabled
        judged = [not is_checked or place is None or bool(self._since_s(place)) for place in places]
        takes = [
            is_judged and (place is None or states[place + TargetField.STATE] in _TAKE_WORK)
            for place, is_judged in zip(places, judged, strict=True)
        ]
        if any(map(mul, takes, weights)):
            return takes
        return [is_taking or not is_judged for is_taking, is_judged in zip(takes, judged, strict=True)]

    def _place(self, rule: str, identity: str) -> int | None:
        row = self._share.rows.get(target_key(rule, identity))
        return None if row is None else row * FIELDS

    def _since_s(self, place: int | None) -> float:
        return 0.0 if place is None else self._states[place + TargetField.SINCE_MS] / 1000

    def _set(self, rule: RuleRuntime, takes: list[bool], weights: list[int]) -> None:
        is_changed = False
        for candidate, is_taking, weight in zip(rule.candidates, takes, weights, strict=True):
            if candidate.available != is_taking or candidate.weight != weight:
                candidate.available, candidate.weight = is_taking, weight
                is_changed = True
        if is_changed:
            rule.scheduler.changed()
            if rule.session is not None:
                rule.session.changed()
