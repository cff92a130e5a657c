"""Whatever happens in whatever order: bounds are kept, somebody serves, and everybody comes back."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clb.config.rules import HealthCheck, Passive
from clb.health.ejection import most_ejected
from clb.health.rule_health import RuleHealth, RuleSettings
from clb.health.state import Change, Remembered, State
from clb.health.streaks import Failure

IDENTITIES = [f"10.0.0.{number}:80" for number in range(1, 8)]
WEIGHTS = st.dictionaries(st.sampled_from(IDENTITIES), st.sampled_from([0, 1, 10]), max_size=7)
CHECKS = st.builds(
    HealthCheck, enabled=st.booleans() | st.just(True), healthy=st.integers(1, 3), unhealthy=st.integers(1, 3)
)
PASSIVES = st.builds(Passive, share=st.sampled_from([0.0, 0.3, 0.5, 1.0]), timeouts=st.sampled_from([0, 1]))
REMEMBERED = st.dictionaries(
    st.sampled_from(IDENTITIES),
    st.builds(
        Remembered,
        state=st.sampled_from(State),
        since=st.floats(0, 2000),
        ejected_until=st.none() | st.floats(0, 1e9),
        ejections=st.integers(0, 100),
    ),
)


class Machine(RuleBasedStateMachine):
    """One rule under everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.rule = RuleHealth()
        self.settings = RuleSettings(HealthCheck(), Passive(), {})
        self.told: dict[str, State] = {}

    def take(self, changes: list[Change]) -> None:
        """Every change that is told of begins where the last one ended."""
        for change in changes:
            assert change.before == self.told.get(change.identity)
            assert change.before != change.after
            assert change.cause
            self.told[change.identity] = change.after

    @initialize(check=CHECKS, passive=PASSIVES, weights=WEIGHTS, remembered=REMEMBERED)
    def begin(
        self, check: HealthCheck, passive: Passive, weights: dict[str, int], remembered: dict[str, Remembered]
    ) -> None:
        self.settings = RuleSettings(check, passive, weights)
        self.take(self.rule.update(self.settings, self.now, remembered))

    @rule(check=CHECKS, passive=PASSIVES, weights=WEIGHTS)
    def reload(self, check: HealthCheck, passive: Passive, weights: dict[str, int]) -> None:
        self.told = {identity: state for identity, state in self.told.items() if identity in weights}
        self.settings = RuleSettings(check, passive, weights)
        self.take(self.rule.update(self.settings, self.now, {}))

    @rule(identity=st.sampled_from(IDENTITIES), is_good=st.booleans(), times=st.integers(1, 3))
    def probe(self, identity: str, is_good: bool, times: int) -> None:
        for _ in range(times):
            self.take(self.rule.probed(identity, is_good, "refused", self.now))

    @rule(identity=st.sampled_from(IDENTITIES), failure=st.sampled_from(Failure))
    def suspect(self, identity: str, failure: Failure) -> None:
        self.take(self.rule.suspected(identity, failure, 5, "reset", self.now))

    @rule(seconds=st.sampled_from([0.1, 10.0, 30.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.rule.tick(self.now))

    @rule()
    def everybody_comes_back(self) -> None:
        """With good probes and time enough, all take work again."""
        self.now += self.settings.passive.ejection_maximum
        self.take(self.rule.tick(self.now))
        for identity in self.settings.weights:
            for _ in range(self.settings.check.healthy):
                self.take(self.rule.probed(identity, True, "", self.now))
        assert all(target.state.takes_work for target in self.rule.targets.values())
        assert not self.rule.has_ejections

    @invariant()
    def the_share_is_kept(self) -> None:
        weighted = [target for target in self.rule.targets.values() if target.weight]
        ejected = [target for target in weighted if target.is_ejected]
        assert len(ejected) <= most_ejected(len(weighted), self.settings.passive.share)

    @invariant()
    def ejections_alone_never_take_all_out(self) -> None:
        weighted = [target for target in self.rule.targets.values() if target.weight]
        if weighted and not any(target.state.takes_work for target in weighted):
            assert all(target.state is State.UNHEALTHY for target in weighted)
            assert self.rule.is_all_out
        else:
            assert not self.rule.is_all_out

    @invariant()
    def what_was_told_is_how_it_is(self) -> None:
        assert self.told == {identity: target.state for identity, target in self.rule.targets.items()}

    @invariant()
    def every_ejection_has_an_end(self) -> None:
        for target in self.rule.targets.values():
            assert not target.is_ejected or target.ejected_until is not None
            if target.is_ejected and target.ejected_until is not None:
                # A reload may shorten the maximum; what runs keeps the length it was told with.
                assert target.ejected_until <= self.now + Passive().ejection_maximum
            assert target.since <= self.now


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
