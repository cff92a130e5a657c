"""The decisions for one rule, played by hand; `a`, `b`, `c` are its targets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from clb.config.rules import HealthCheck, Passive
from clb.health.rule_health import RuleHealth, RuleSettings
from clb.health.state import Change, Remembered, State
from clb.health.streaks import Failure

UNCHECKED, CHECKING, HEALTHY, UNHEALTHY, EJECTED, PROVISIONAL = State
OFF = HealthCheck(enabled=False)


class Script:
    """A rule and its clock; `changes` are those of the last call, in short."""

    def __init__(self, *targets: str, check: HealthCheck | None = None, passive: Passive | None = None) -> None:
        self.now = 1000.0
        self.check = check or HealthCheck(healthy=2, unhealthy=2)
        self.passive = passive or Passive()
        self.rule = RuleHealth()
        self.changes: list[Change] = []
        self.update(*(targets or "abc"))

    def update(
        self,
        *targets: str,
        weights: Mapping[str, int] | None = None,
        remembered: Mapping[str, Remembered] | None = None,
        check: HealthCheck | None = None,
        passive: Passive | None = None,
    ) -> None:
        self.check = check or self.check
        self.passive = passive or self.passive
        of_each = dict.fromkeys(targets, 10) | dict(weights or {})
        settings = RuleSettings(self.check, self.passive, of_each)
        self.changes = self.rule.update(settings, self.now, remembered or {})

    def good(self, target: str, times: int = 1) -> None:
        for _ in range(times):
            self.changes = self.rule.probed(target, True, "", self.now)

    def bad(self, target: str, times: int = 1) -> None:
        for _ in range(times):
            self.changes = self.rule.probed(target, False, "refused", self.now)

    def prove(self, *targets: str) -> None:
        for target in targets:
            self.good(target, self.check.healthy)

    def suspect(self, target: str, failure: Failure = Failure.CONNECT) -> None:
        self.changes = self.rule.suspected(target, failure, 5, "reset", self.now)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.changes = self.rule.tick(self.now)

    @property
    def states(self) -> dict[str, State]:
        return {identity: target.state for identity, target in self.rule.targets.items()}

    def state(self, target: str) -> State:
        return self.states[target]

    def causes(self) -> list[str]:
        return [f"{change.identity}: {change.cause}" for change in self.changes]


# --- verdicts ---


def test_a_rule_that_begins_lets_all_take_work_until_a_probe_fails() -> None:
    script = Script()
    assert set(script.states.values()) == {PROVISIONAL}
    assert script.changes[0] == Change("a", None, PROVISIONAL, "new")
    script.prove("a")
    assert script.changes == [Change("a", PROVISIONAL, HEALTHY, "2 probes in a row were good")]
    script.bad("b")
    assert script.changes == [
        Change("b", PROVISIONAL, UNHEALTHY, "a probe failed before it was proved: refused"),
    ]
    assert script.states == {"a": HEALTHY, "b": UNHEALTHY, "c": PROVISIONAL}
    assert not script.rule.is_all_out


def test_a_target_that_comes_later_waits_until_it_is_proved() -> None:
    script = Script("a")
    script.prove("a")
    script.update("a", "b")
    assert script.changes == [Change("b", None, CHECKING, "new")]
    script.good("b")
    assert script.state("b") is CHECKING
    script.good("b")
    assert script.state("b") is HEALTHY


def test_a_target_that_comes_where_all_are_bad_takes_work() -> None:
    script = Script("a")
    script.bad("a")
    assert script.rule.is_all_out
    script.update("a", "b")
    assert script.states == {"a": UNHEALTHY, "b": PROVISIONAL}
    assert not script.rule.is_all_out


def test_targets_that_replace_all_others_take_work() -> None:
    script = Script("a", "b")
    script.prove("a", "b")
    script.update("c", "d")
    assert script.states == {"c": PROVISIONAL, "d": PROVISIONAL}


def test_the_thresholds_are_of_probes_in_a_row() -> None:
    script = Script("a", "b")
    script.prove("a")
    script.bad("a")
    script.good("a")
    script.bad("a")
    assert script.state("a") is HEALTHY
    script.bad("a")
    assert script.causes() == ["a: 2 probes in a row failed: refused"]
    script.good("a")
    script.bad("a")
    script.good("a")
    assert script.state("a") is UNHEALTHY
    script.good("a")
    assert script.state("a") is HEALTHY


def test_a_threshold_of_one_is_told_as_one() -> None:
    script = Script("a", check=HealthCheck(healthy=1, unhealthy=1))
    script.good("a")
    assert script.causes() == ["a: a probe was good"]
    script.bad("a")
    assert script.causes() == ["a: a probe failed: refused"]


def test_more_of_the_same_changes_nothing() -> None:
    script = Script("a", "b")
    script.prove("a")
    script.good("a", 5)
    assert script.changes == []
    script.bad("b", 5)
    assert script.changes == []


def test_edited_thresholds_apply_and_lose_nothing() -> None:
    script = Script("a", "b", check=HealthCheck(healthy=1, unhealthy=5))
    script.prove("a", "b")
    script.bad("a", 3)
    script.update("a", "b", check=HealthCheck(healthy=1, unhealthy=4))
    assert script.changes == []
    script.bad("a")
    assert script.state("a") is UNHEALTHY


def test_probes_of_the_unknown_and_of_the_unchecked_are_ignored() -> None:
    script = Script("a", check=OFF)
    assert script.states == {"a": UNCHECKED}
    script.bad("a", 10)
    script.bad("nobody")
    assert (script.changes, script.states) == ([], {"a": UNCHECKED})


def test_checks_are_switched_off_and_on() -> None:
    script = Script("a", "b")
    script.prove("a")
    script.bad("b")
    script.update("a", "b", check=OFF)
    assert script.states == {"a": UNCHECKED, "b": UNCHECKED}
    assert script.causes() == ["a: checks are switched off", "b: checks are switched off"]
    script.update("a", "b", check=HealthCheck(healthy=2))
    assert script.states == {"a": PROVISIONAL, "b": PROVISIONAL}
    script.good("a")
    assert script.state("a") is PROVISIONAL  # What was counted before has no meaning any more.


def test_all_out_and_back() -> None:
    script = Script("a", "b")
    script.bad("a")
    script.bad("b")
    assert script.rule.is_all_out
    script.prove("b")
    assert not script.rule.is_all_out


def test_a_rule_without_targets_is_not_all_out() -> None:
    script = Script("a")
    script.bad("a")
    script.update()
    assert not script.rule.is_all_out


def test_who_waits_takes_over_when_the_last_good_one_fails() -> None:
    script = Script("a")
    script.prove("a")
    script.update("a", "b")
    script.bad("a", 2)
    assert script.states == {"a": UNHEALTHY, "b": PROVISIONAL}
    assert script.causes() == [
        "a: 2 probes in a row failed: refused",
        "b: no target of the rule is known to be better",
    ]


def test_weight_0_is_checked_and_does_not_count_as_taking_work() -> None:
    script = Script("a")
    script.prove("a")
    script.update(weights={"a": 0, "b": 10})
    assert script.states == {"a": HEALTHY, "b": PROVISIONAL}
    script.bad("b")
    assert script.rule.is_all_out
    script.bad("a", 2)
    assert script.state("a") is UNHEALTHY
    script.update(weights={"a": 0, "b": 0})
    assert not script.rule.is_all_out


# --- times ---


def test_slow_start_counts_from_when_work_began() -> None:
    script = Script("a", "b")
    script.now += 7
    script.prove("a")
    a = script.rule.targets["a"]
    assert (a.since, a.serves_since) == (1007.0, 1000.0)
    script.bad("a", 2)
    script.now += 7
    script.prove("a")
    assert (a.since, a.serves_since) == (1014.0, 1014.0)


# --- ejections ---


def healthy(*targets: str, passive: Passive | None = None) -> Script:
    script = Script(*targets, passive=passive)
    script.prove(*(targets or "abc"))
    return script


def test_an_ejection_and_its_end() -> None:
    script = healthy()
    assert not script.rule.has_ejections
    script.suspect("a")
    assert script.changes == [
        Change("a", HEALTHY, EJECTED, "ejected for 30s: 5 connect failures in a row: reset"),
    ]
    assert script.rule.has_ejections
    script.later(29.9)
    assert script.state("a") is EJECTED
    script.later(0.1)
    assert script.changes == [Change("a", EJECTED, HEALTHY, "its ejection is over")]
    assert script.rule.targets["a"].serves_since == script.now
    assert not script.rule.has_ejections


def test_ejections_grow_and_good_service_shortens_them() -> None:
    script = healthy()
    lengths = []
    for rest in (0, 0, 0, 0, 600, 0):
        script.suspect("a")
        lengths.append(script.rule.targets["a"].ejected_until - script.now)  # type: ignore[operator]
        script.later(lengths[-1])
        script.later(rest)
    assert lengths == [30, 60, 120, 240, 300, 240]


def test_the_share_is_kept() -> None:
    script = healthy("a", "b", "c", "d")
    for target in "abcd":
        script.suspect(target)
    assert script.states == {"a": EJECTED, "b": EJECTED, "c": HEALTHY, "d": HEALTHY}
    reason = script.rule.targets["c"].not_ejected_because
    assert reason == "no more than 50% of the rule's targets may be ejected (5 connect failures in a row: reset)"


def test_the_last_one_stays() -> None:
    script = healthy("a", "b", "c", passive=Passive(share=1.0))
    script.bad("a", 2)
    for target in "abc":
        script.suspect(target)
    assert script.states == {"a": UNHEALTHY, "b": EJECTED, "c": HEALTHY}
    assert script.rule.targets["c"].not_ejected_because.startswith("no other target takes work")


def test_the_only_target_is_never_ejected() -> None:
    script = healthy("a", passive=Passive(share=1.0))
    script.suspect("a")
    assert script.states == {"a": HEALTHY}


@pytest.mark.parametrize("target", ["unknown", "out", "ejected", "weightless"])
def test_proposals_that_mean_nothing(target: str) -> None:
    script = Script("out", "ejected", "weightless", "other")
    script.update(weights={"out": 1, "ejected": 1, "weightless": 0, "other": 1, "another": 1})
    script.bad("out")
    script.suspect("ejected")
    before = script.states
    script.suspect(target)
    assert (script.changes, script.states) == ([], before)


def test_a_reason_that_is_off_is_none() -> None:
    script = healthy(passive=Passive(timeouts=0))
    script.suspect("a", Failure.TIMEOUT)
    assert script.changes == []


def test_a_good_check_does_not_end_an_ejection_and_a_failed_one_outlasts_it() -> None:
    script = healthy()
    script.suspect("a")
    script.good("a", 5)
    assert script.state("a") is EJECTED
    script.bad("a", 2)
    assert script.causes() == ["a: 2 probes in a row failed: refused"]
    assert script.state("a") is UNHEALTHY
    script.later(30)
    assert (script.changes, script.state("a")) == ([], UNHEALTHY)
    script.prove("a")
    assert script.state("a") is HEALTHY


def test_who_is_well_again_before_its_ejection_ends_stays_out() -> None:
    script = healthy()
    script.suspect("a")
    script.bad("a", 2)
    script.prove("a")
    assert script.causes() == ["a: 2 probes in a row were good; an ejection keeps it out"]
    script.later(30)
    assert script.state("a") is HEALTHY


def test_an_ejection_ends_when_nobody_else_is_left() -> None:
    script = healthy("a", "b")
    script.suspect("a")
    script.bad("b", 2)
    assert script.states == {"a": HEALTHY, "b": UNHEALTHY}
    assert script.causes()[1] == "a: its ejection was ended: no other target takes work"
    assert not script.rule.is_all_out


def test_ejections_end_when_the_share_shrinks() -> None:
    script = healthy("a", "b", "c", "d")
    script.suspect("a")
    script.now += 1
    script.suspect("b")
    script.update("a", "b", "c")
    assert script.causes() == ["a: its ejection was ended: too many are ejected for the rule"]
    assert script.states == {"a": HEALTHY, "b": EJECTED, "c": HEALTHY}
    script.update("a", "b", "c", passive=Passive(share=0.0))
    assert script.state("b") is HEALTHY


def test_a_removed_target_is_forgotten() -> None:
    script = healthy("a", "b")
    script.suspect("a")
    script.update("b")
    script.update("a", "b")
    assert script.state("a") is CHECKING
    assert script.rule.targets["a"].ejections == 0


# --- what is remembered ---


RESTORED = {  # case: (remembered, check is on, restored)
    "healthy": (HEALTHY, True, HEALTHY),
    "unhealthy": (UNHEALTHY, True, UNHEALTHY),
    "checking": (CHECKING, True, CHECKING),
    "provisional": (PROVISIONAL, True, PROVISIONAL),
    "ejection_that_is_over": (EJECTED, True, HEALTHY),
    "checks_were_off": (UNCHECKED, True, PROVISIONAL),
    "checks_are_off": (UNHEALTHY, False, UNCHECKED),
}


@pytest.mark.parametrize(("known", "is_on", "expected"), RESTORED.values(), ids=RESTORED)
def test_states_outlive_the_process(known: State, is_on: bool, expected: State) -> None:
    script = Script("z", check=HealthCheck(enabled=is_on))
    script.prove("z")
    script.update("z", "a", remembered={"a": Remembered(known, 900.0, why="as before")})
    a = script.rule.targets["a"]
    assert a.state is expected
    assert a.since == (900.0 if expected is known else 1000.0)
    assert a.why == "as before"
    assert script.changes == [Change("a", None, expected, "as it was before the restart")]


def test_an_ejection_outlives_the_process() -> None:
    script = healthy("y", "z")
    known = Remembered(EJECTED, 990.0, ejected_until=1020.0, ejections=3)
    script.update("y", "z", "a", remembered={"a": known})
    assert script.state("a") is EJECTED
    script.later(20)
    assert script.state("a") is HEALTHY
    assert script.rule.targets["a"].ejections == 3


def test_what_is_remembered_is_not_believed_beyond_reason() -> None:
    script = healthy("y", "z")
    script.update("y", "z", "a", remembered={"a": Remembered(EJECTED, 9e9, ejected_until=9e9)})
    a = script.rule.targets["a"]
    assert (a.since, a.ejected_until) == (1000.0, 1300.0)


def test_who_waited_alone_waits_no_longer() -> None:
    script = Script("z")
    script.update("a", remembered={"a": Remembered(CHECKING, 900.0)})
    assert script.state("a") is PROVISIONAL
