"""The one timer, on a loop of which the test is the hand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from clb.proxy.sweep import INTERVAL_S, Sweep


class Loop:
    """Keeps what is to be called later; `pass_time` calls it."""

    def __init__(self) -> None:
        self.now = 10.0
        self.due: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        handle = Handle(self.now + delay, callback)
        self.due.append(handle)
        return handle

    def pass_time(self) -> None:
        (handle,) = self.due
        self.due.clear()
        if not handle.is_cancelled:
            self.now = handle.when
            handle.callback()


class Handle:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.is_cancelled = when, callback, False

    def cancel(self) -> None:
        self.is_cancelled = True


def sweep_of(loop: Loop, *tasks: Callable[[float], None]) -> Sweep:
    return Sweep(cast(Any, loop), tasks)


def test_tasks_get_the_time_of_the_loop_again_and_again() -> None:
    loop, seen = Loop(), list[tuple[str, float]]()
    sweep = sweep_of(loop, lambda now: seen.append(("a", now)), lambda now: seen.append(("b", now)))
    sweep.start()
    assert seen == []
    loop.pass_time()
    loop.pass_time()
    first, second = 10.0 + INTERVAL_S, 10.0 + 2 * INTERVAL_S
    assert seen == [("a", first), ("b", first), ("a", second), ("b", second)]


def test_stop_ends_it() -> None:
    loop, seen = Loop(), list[float]()
    sweep = sweep_of(loop, seen.append)
    sweep.stop()  # before it began: nothing to do
    sweep.start()
    sweep.stop()
    loop.pass_time()
    assert seen == []
    assert loop.due == []


def test_a_task_that_fails_is_logged_and_stops_neither_the_others_nor_the_clock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop, seen = Loop(), list[float]()

    def fails(now: float) -> None:
        raise ValueError("a defect")

    sweep_of(loop, fails, seen.append).start()
    with caplog.at_level(logging.ERROR):
        loop.pass_time()
        loop.pass_time()
    assert len(seen) == 2
    assert [record.message for record in caplog.records] == ["a sweep failed"] * 2
