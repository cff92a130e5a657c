"""The bound of what is under way, the second bound of the slow, and nobody left behind."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from clb.service.places import Places


class Crowd:
    """Tasks that hold places until they are told to go."""

    def __init__(self, size: int) -> None:
        self.places = Places(size)
        self.inside: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str, is_slow: bool = False) -> None:
        for name in names:
            self._gates[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._visit(name, is_slow))
        await self.settle()

    async def _visit(self, name: str, is_slow: bool) -> None:
        async with self.places.place(is_slow=is_slow):
            self.inside.append(name)
            try:
                await self._gates[name].wait()
            finally:
                self.inside.remove(name)

    async def go(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        # All is given back: as many as there are places find one.
        async with AsyncExitStack() as stack:
            for _ in range(self.places.size):
                await asyncio.wait_for(stack.enter_async_context(self.places.place(is_slow=False)), 1)


def test_no_more_than_there_are_places() -> None:
    async def play() -> None:
        crowd = Crowd(2)
        await crowd.come("a", "b", "c", "d")
        assert crowd.inside == ["a", "b"]
        await crowd.go("a")
        assert crowd.inside == ["b", "c"]
        await crowd.end()

    asyncio.run(play())


def test_the_slow_leave_a_quarter_to_the_others() -> None:
    async def play() -> None:
        crowd = Crowd(4)
        await crowd.come("s1", "s2", "s3", "s4", "s5", is_slow=True)
        assert crowd.inside == ["s1", "s2", "s3"]
        await crowd.come("a")
        assert crowd.inside == ["s1", "s2", "s3", "a"]
        await crowd.come("b")
        await crowd.go("s1")
        assert crowd.inside == ["s2", "s3", "a", "b"]  # Who is quick does not wait behind who is slow.
        await crowd.go("b")
        assert crowd.inside == ["s2", "s3", "a", "s4"]
        await crowd.end()

    asyncio.run(play())


def test_the_size_may_change() -> None:
    async def play() -> None:
        crowd = Crowd(3)
        await crowd.come("a", "b", "c", "d")
        crowd.places.size = 1
        await crowd.go("a", "b")
        assert crowd.inside == ["c"]
        await crowd.go("c")
        assert crowd.inside == ["d"]
        crowd.places.size = 2
        await crowd.come("e")
        assert crowd.inside == ["d", "e"]
        await crowd.end()

    asyncio.run(play())


def test_who_gives_up_leaves_no_trace() -> None:
    async def play() -> None:
        crowd = Crowd(1)
        await crowd.come("a", "b", "c")
        crowd.tasks["b"].cancel()
        await crowd.settle()
        await crowd.go("a")
        assert crowd.inside == ["c"]
        await crowd.come("d")
        await crowd.go("c")  # gives the place to d ...
        crowd.tasks["d"].cancel()
        await crowd.end()

    asyncio.run(play())


def test_who_gives_up_just_when_it_is_its_turn_passes_it_on() -> None:
    async def play() -> None:
        crowd = Crowd(1)
        await crowd.come("a", "b", "c")
        crowd._gates["a"].set()
        await asyncio.sleep(0)  # a wakes and leaves, b's future is done; b itself has not run yet
        crowd.tasks["b"].cancel()
        await crowd.settle()
        assert crowd.inside == ["c"]
        await crowd.end()

    asyncio.run(play())
