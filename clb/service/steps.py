"""Do long work on a loop that has other things to do.

Owns:      how long it takes at a time.
Elsewhere: cutting the work into steps: generators that yield where they may be interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import Any, TypeVar

BUDGET_S = 0.003
"""Whoever waits for the loop meanwhile waits so long, and for one step more."""

FREED_IN_A_STEP = 50

Result = TypeVar("Result")


async def in_steps(steps: Generator[None, None, Result], budget_s: float = BUDGET_S) -> Result:
    """Run a generator to its end and return what it returns; the loop has its turn every few milliseconds."""
    while True:
        give_way_at = perf_counter() + budget_s
        try:
            while perf_counter() < give_way_at:
                next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        await asyncio.sleep(0)


def let_go(objects: list[Any]) -> Generator[None, None, None]:
    """Empty a list bit by bit: freeing ten thousand objects at once takes as long as making them did."""
    while objects:
        del objects[-FREED_IN_A_STEP:]
        yield


def at_once(steps: Generator[None, None, Result]) -> Result:
    """Run a generator to its end, where nobody waits."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
