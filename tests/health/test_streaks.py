"""What a worker counts, and when it proposes an ejection."""

from __future__ import annotations

from clb.config.rules import Passive
from clb.health.streaks import Failure, Streaks

CONNECT, TIMEOUT, SERVER_ERROR = Failure
PASSIVE = Passive(connect_failures=3, timeouts=2, server_errors=4)


class Script:
    """Streaks whose proposals are kept."""

    def __init__(self, passive: Passive = PASSIVE) -> None:
        self.proposals: list[tuple[str, Failure, int, str]] = []
        self.streaks = Streaks(passive, lambda *proposal: self.proposals.append(proposal))

    def fail(self, failure: Failure, times: int, *, at: float = 0.0, target: str = "a:1") -> None:
        for _ in range(times):
            self.streaks.failed(target, failure, "refused", at)


def test_the_threshold_is_met_by_failures_in_a_row() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    assert script.proposals == []
    script.fail(CONNECT, 1)
    assert script.proposals == [("a:1", CONNECT, 3, "refused")]


def test_a_good_answer_ends_a_row() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    assert script.streaks.answered("a:1", 200, 0.0) is False
    script.fail(CONNECT, 2)
    assert script.proposals == []


def test_kinds_are_counted_apart() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    script.fail(TIMEOUT, 1)
    assert script.proposals == []
    script.fail(TIMEOUT, 1)
    assert script.proposals == [("a:1", TIMEOUT, 2, "refused")]


def test_targets_are_counted_apart() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    script.fail(CONNECT, 2, target="b:1")
    assert script.proposals == []


def test_server_errors_are_answers_that_count() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    assert [script.streaks.answered("a:1", status, 0.0) for status in (500, 503, 502, 599)] == [True] * 4
    assert script.proposals == [("a:1", SERVER_ERROR, 4, "answered 599")]
    script.fail(CONNECT, 2, at=9.0)  # An answer, if a bad one, has ended that row.
    assert len(script.proposals) == 1


def test_0_switches_a_reason_off() -> None:
    script = Script(Passive(connect_failures=0))
    script.fail(CONNECT, 1000)
    assert script.proposals == []


def test_proposals_are_repeated_once_a_second() -> None:
    script = Script()
    script.fail(CONNECT, 1000)
    script.fail(CONNECT, 1000, at=0.9)
    assert len(script.proposals) == 1
    script.fail(CONNECT, 1000, at=1.0)
    assert [count for _, _, count, _ in script.proposals] == [3, 2001]


def test_other_thresholds_go_by_the_counts_so_far() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    script.streaks.update(Passive(connect_failures=1), ["a:1", "b:1"])
    script.fail(CONNECT, 1)
    assert [count for _, _, count, _ in script.proposals] == [3]


def test_a_target_that_is_gone_is_forgotten() -> None:
    script = Script()
    script.fail(CONNECT, 2)
    script.streaks.update(PASSIVE, ["b:1"])
    script.fail(CONNECT, 2)
    assert script.proposals == []
