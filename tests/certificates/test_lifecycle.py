"""States and notices of a certificate over its life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.certificates.lifecycle import NOTICE_DAYS, State, days_left, due_notice, state

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=90)
SECOND = timedelta(seconds=1)

STATES = {
    "before": (BEGIN - SECOND, State.PENDING),
    "first_moment": (BEGIN, State.ACTIVE),
    "last_quiet_moment": (END - timedelta(days=30) - SECOND, State.ACTIVE),
    "thirty_days": (END - timedelta(days=30), State.EXPIRING),
    "last_moment": (END, State.EXPIRING),
    "after": (END + SECOND, State.EXPIRED),
}


@pytest.mark.parametrize(("now", "expected"), STATES.values(), ids=STATES)
def test_state(now, expected):
    assert state(BEGIN, END, now) is expected


DUE = {
    "long_before": (31, None, None),
    "thirty": (30, None, 30),
    "thirty_told": (30, 30, None),
    "between": (20, 30, None),
    "between_untold": (20, None, 30),
    "fourteen": (14, 30, 14),
    "after_a_long_silence": (2, 30, 3),
    "one": (1, 3, 1),
    "half_a_day": (0.5, 1, None),
    "the_last_moment": (0, 1, None),
    "over": (-0.001, 1, 0),
    "over_and_told": (-5, 0, None),
    "first_seen_expired": (-100, None, 0),
}


@pytest.mark.parametrize(("left", "told", "expected"), DUE.values(), ids=DUE)
def test_due_notice(left, told, expected):
    assert due_notice(END, END - timedelta(days=left), told) == expected


@given(st.lists(st.floats(-40, 10), min_size=1))
def test_each_day_is_told_at_most_once_and_in_order(days):
    heard: list[int] = []
    told = None
    for day in sorted(days):
        if (due := due_notice(END, END + timedelta(days=day), told)) is not None:
            heard.append(due)
            told = due
    assert heard == sorted(set(heard), reverse=True)
    assert set(heard) <= set(NOTICE_DAYS)


@pytest.mark.parametrize(("left", "days"), [(2.5, 2), (1, 1), (0.5, 0), (-0.5, -1)])
def test_days_left(left, days):
    assert days_left(END, END - timedelta(days=left)) == days
