"""A worker's schedulers obey what the cells say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from clb.balancing.candidate import Candidate
from clb.balancing.scheduler import create_scheduler
from clb.balancing.stickiness import SessionPolicy
from clb.config.models import HealthCheck, Rule, Target
from clb.metering.cells import CONTROL, FIELDS, Cells, TargetField, TargetState, target_key
from clb.service.health_view import HealthView

LISTENER = "lb/http"
NAME = "shop.example.com/"
UNCHECKED, CHECKING, HEALTHY, UNHEALTHY, EJECTED, PROVISIONAL = TargetState
START_S = 1_000_000.0


class Something(SimpleNamespace):
    """Compared by identity, as the objects it stands for are."""

    __hash__ = object.__hash__


class Worker:
    """One rule of a worker, and the control process's column."""

    def __init__(self, weights: Sequence[int] = (10, 10, 10), *, has_session: bool = False, **keys: Any) -> None:
        targets = tuple(Target(address=f"10.0.0.{at}", port=80, weight=w) for at, w in enumerate(weights, 1))
        # Built, not read: durations are numbers here.
        config = Rule(domain="shop.example.com", default=True, targets=targets).model_copy(update=keys)
        self.candidates = tuple(Candidate(one.address, one.port, one.weight, None) for one in targets)
        self.now = START_S
        self.changes = 0
        self.rule: Any = Something(
            name=NAME,
            config=config,
            candidates=self.candidates,
            scheduler=create_scheduler(config.scheduler, self.candidates, lambda _: 0, lambda: self.now),
            session=self._session() if has_session else None,
        )
        changed = self.rule.scheduler.changed
        self.rule.scheduler = SimpleNamespace(choose=self.rule.scheduler.choose, changed=lambda: self._count(changed))
        self._rows = {target_key(f"{LISTENER} {NAME}", one.identity): at for at, one in enumerate(targets, 1)}
        self.cells = Cells(100, 2)
        listeners: Any = {LISTENER: SimpleNamespace(rules=[self.rule])}
        share: Any = SimpleNamespace(rows=self._rows)
        self.view = HealthView(lambda: listeners, self.cells, share, lambda: self.now)

    def _session(self) -> SessionPolicy[None]:
        return SessionPolicy(b"S", 60, b"k" * 32, secure=False, same_site="lax", candidates=self.candidates)

    def _count(self, changed: Any) -> None:
        self.changes += 1
        changed()

    def say(self, *states: TargetState | None, since_s: float = 1.0) -> None:
        """What the control process writes; None: nothing yet."""
        column = self.cells.columns[CONTROL]
        for row, state in enumerate(states, 1):
            if state is not None and column[row * FIELDS + TargetField.STATE] != state:
                column[row * FIELDS + TargetField.STATE] = state
                column[row * FIELDS + TargetField.SINCE_MS] = int(since_s * 1000)
        self.refresh()

    def refresh(self) -> None:
        for _ in self.view.refresh_in_steps():
            pass

    @property
    def available(self) -> list[bool]:
        return [candidate.available for candidate in self.candidates]

    @property
    def weights(self) -> list[int]:
        return [candidate.weight for candidate in self.candidates]

    def chosen(self, count: int = 300) -> list[int]:
        counts = Counter(self.rule.scheduler.choose(b"203.0.113.%d" % (number % 250)) for number in range(count))
        return [counts[candidate] for candidate in self.candidates]


STATES = {  # case: (states, is checked, who takes work)
    "all_good": ([HEALTHY, HEALTHY, HEALTHY], True, [True, True, True]),
    "each_that_takes_none": ([UNHEALTHY, EJECTED, HEALTHY], True, [False, False, True]),
    "new_beside_good": ([HEALTHY, CHECKING, HEALTHY], True, [True, False, True]),
    "provisional": ([PROVISIONAL, UNHEALTHY, PROVISIONAL], True, [True, False, True]),
    "checks_are_off": ([UNCHECKED, UNCHECKED, EJECTED], False, [True, True, False]),
    "not_judged_beside_good": ([HEALTHY, None, HEALTHY], True, [True, False, True]),
    "nobody_judged_yet": ([None, None, None], True, [True, True, True]),
    "not_judged_beside_bad": ([UNHEALTHY, None, EJECTED], True, [False, True, False]),
    "not_judged_and_not_checked": ([None, None, None], False, [True, True, True]),
    "all_bad": ([UNHEALTHY, EJECTED, UNHEALTHY], True, [False, False, False]),
}


@pytest.mark.parametrize(("states", "is_checked", "expected"), STATES.values(), ids=STATES)
def test_who_takes_work(states, is_checked, expected):
    worker = Worker(health_check=HealthCheck(enabled=is_checked))
    worker.say(*states)
    assert worker.available == expected
    shares = [100 if takes else 0 for takes in expected] if any(expected) else [100] * 3
    total = sum(shares)
    assert worker.chosen() == [300 * share // total for share in shares]


def test_a_state_of_weight_0_is_no_help():
    worker = Worker((0, 10, 10))
    worker.say(HEALTHY, None, UNHEALTHY)
    assert worker.chosen()[1:] == [300, 0]


def test_schedulers_hear_of_changes_only():
    worker = Worker()
    worker.say(HEALTHY, HEALTHY, UNHEALTHY)
    assert worker.changes == 1
    worker.refresh()
    worker.refresh()
    assert worker.changes == 1
    worker.say(HEALTHY, HEALTHY, EJECTED)
    assert worker.changes == 1  # Out is out.


def test_sessions_hear_of_changes_too():
    worker = Worker(has_session=True)
    first = worker.candidates[0]
    cookie = worker.rule.session.set_cookie(first).split(b";")[0]
    worker.say(HEALTHY, HEALTHY, HEALTHY)
    assert worker.rule.session.choose(cookie) is first
    worker.say(UNHEALTHY, HEALTHY, HEALTHY)
    assert worker.rule.session.choose(cookie) is None


@pytest.mark.parametrize(("all_dead", "total"), [("serve", 300), ("refuse", 0)])
def test_all_dead(all_dead, total):
    worker = Worker(all_dead=all_dead, has_session=True)
    cookie = worker.rule.session.set_cookie(worker.candidates[0]).split(b";")[0]
    worker.say(UNHEALTHY, UNHEALTHY, UNHEALTHY)
    assert sum(worker.chosen()) == total
    assert (worker.rule.session.choose(cookie) is None) is (all_dead == "refuse")
    worker.say(HEALTHY, UNHEALTHY, UNHEALTHY)
    assert worker.chosen() == [300, 0, 0]
    assert worker.weights == [10, 10, 10]


def test_refuse_is_not_for_targets_that_nobody_has_judged():
    worker = Worker(all_dead="refuse")
    worker.refresh()
    assert worker.chosen() == [100, 100, 100]


def test_the_share_of_a_target_that_is_back_grows():
    worker = Worker(slow_start=10.0)
    worker.say(HEALTHY, HEALTHY, UNHEALTHY)
    worker.say(HEALTHY, HEALTHY, HEALTHY, since_s=START_S)
    shares = []
    for _ in range(11):
        shares.append(worker.chosen(2100)[2])
        worker.now += 1
        worker.view.sweep(0.0)
    assert shares[0] == 100  # a tenth of its share: 1 in 21
    assert shares == sorted(shares)
    assert (shares[-1], worker.weights) == (700, [10, 10, 10])
    changes = worker.changes
    worker.now += 100
    worker.view.sweep(0.0)
    assert worker.changes == changes


@pytest.mark.parametrize("scheduler", ["ip_hash", "maglev"])
def test_a_hash_does_not_ramp(scheduler):
    worker = Worker(scheduler=scheduler)
    worker.say(HEALTHY, HEALTHY, UNHEALTHY)
    worker.say(HEALTHY, HEALTHY, HEALTHY, since_s=START_S)
    assert worker.weights == [10, 10, 10]


def test_targets_that_came_together_do_not_ramp():
    worker = Worker(slow_start=10.0)
    worker.say(PROVISIONAL, PROVISIONAL, PROVISIONAL, since_s=START_S)
    assert worker.changes == 0


def test_slow_start_may_be_off():
    worker = Worker(slow_start=0.0)
    worker.say(HEALTHY, HEALTHY, UNHEALTHY)
    worker.say(HEALTHY, HEALTHY, HEALTHY, since_s=START_S)
    assert worker.weights == [10, 10, 10]


def test_a_rule_that_is_gone_ramps_no_more():
    worker = Worker(slow_start=10.0)
    worker.say(HEALTHY, HEALTHY, UNHEALTHY)
    worker.say(HEALTHY, HEALTHY, HEALTHY, since_s=START_S)
    worker.view._listeners()[LISTENER].rules.clear()
    worker.refresh()
    worker.now += 5
    changes = worker.changes
    worker.view.sweep(0.0)
    assert worker.changes == changes


def test_a_target_without_a_row_takes_work():
    worker = Worker()
    worker._rows.clear()
    worker.say(UNHEALTHY, UNHEALTHY, UNHEALTHY)
    assert worker.available == [True, True, True]


def test_many_rules_are_read_in_steps():
    worker = Worker()
    worker.view._listeners()[LISTENER].rules.extend([worker.rule] * 60)
    assert sum(1 for _ in worker.view.refresh_in_steps()) == 3
