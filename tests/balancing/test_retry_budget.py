"""A share of the live requests, never less than the minimum."""

from __future__ import annotations

import pytest

from clb.balancing.retry_budget import RetryBudget

BUDGETS = {  # case: (share, minimum, live requests, retries that fit)
    "minimum_when_idle": (0.2, 10, 0, 10),
    "minimum_when_few": (0.2, 10, 49, 10),
    "share_when_many": (0.2, 10, 100, 20),
    "rounded_down": (0.2, 0, 9, 1),
    "none": (0.0, 0, 1000, 0),
    "minimum_only": (0.0, 3, 1000, 3),
    "all": (1.0, 0, 7, 7),
}


@pytest.mark.parametrize(("share", "minimum", "requests", "fit"), BUDGETS.values(), ids=BUDGETS)
def test_budget(share: float, minimum: int, requests: int, fit: int) -> None:
    budget = RetryBudget(share, minimum)
    budget.live_requests = requests
    assert [budget.try_acquire() for _ in range(fit + 2)] == [True] * fit + [False] * 2
    assert budget.live_retries == fit


def test_release_makes_room() -> None:
    budget = RetryBudget(0.0, 1)
    assert budget.try_acquire()
    assert not budget.try_acquire()
    budget.release()
    assert budget.try_acquire()
    budget.release()
    assert budget.live_retries == 0


def test_releasing_what_was_not_acquired_is_our_own_error() -> None:
    with pytest.raises(AssertionError):
        RetryBudget(0.2, 10).release()
