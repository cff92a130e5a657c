"""Names are looked up again and again, once at a time, and a silent name server does no harm."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from clb.service import resolver as resolver_module
from clb.service.resolver import NameUnknown, Resolver


class NameServer:
    """Answers as it is told to; counts."""

    def __init__(self) -> None:
        self.found: Sequence[str] | OSError = ("10.0.0.1",)
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        self.answers.wait(10)
        if isinstance(self.found, OSError):
            raise self.found
        return self.found


@pytest.fixture
def server() -> NameServer:
    return NameServer()


@pytest.fixture
def play(server: NameServer) -> Callable[[Callable[[Resolver], Coroutine[Any, Any, None]]], None]:
    async def run(script: Callable[[Resolver], Coroutine[Any, Any, None]]) -> None:
        resolver = Resolver(server)
        try:
            await script(resolver)
        finally:
            server.answers.set()
            await resolver.close()

    return lambda script: asyncio.run(run(script))


def test_an_address_is_itself(server, play):
    async def script(resolver):
        assert [*await resolver.addresses("10.0.0.1"), *await resolver.addresses("fd00::1")] == ["10.0.0.1", "fd00::1"]
        assert server.asked == []

    play(script)


def test_a_name_is_looked_up_for_each_check(server, play):
    async def script(resolver):
        assert await resolver.addresses("app") == ("10.0.0.1",)
        server.found = ("10.0.0.2", "10.0.0.3")
        assert await resolver.addresses("app") == ("10.0.0.2", "10.0.0.3")

    play(script)


def test_addresses_are_bounded(server, play):
    async def script(resolver):
        server.found = tuple(f"10.0.0.{number}" for number in range(100))
        assert len(await resolver.addresses("app")) == 4

    play(script)


def test_who_asks_for_the_same_at_once_shares_the_answer(server, play):
    async def script(resolver):
        server.answers.clear()
        both = asyncio.gather(resolver.addresses("app"), resolver.addresses("app"))
        await asyncio.sleep(0.01)
        server.answers.set()
        assert await both == [("10.0.0.1",)] * 2
        assert server.asked == ["app"]

    play(script)


def test_a_name_that_is_not_there(server, play):
    async def script(resolver):
        await resolver.addresses("app")
        server.found = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        with pytest.raises(NameUnknown, match="name not found: Name or service not known"):
            await resolver.addresses("app")

    play(script)


def test_while_the_name_server_is_silent_the_last_answer_holds(server, play, monkeypatch):
    monkeypatch.setattr(resolver_module, "PATIENCE_S", 0.02)

    async def script(resolver):
        await resolver.addresses("app")
        server.answers.clear()
        assert await resolver.addresses("app") == ("10.0.0.1",)
        with pytest.raises(TimeoutError):  # A name that was never known has nothing to fall back on.
            await asyncio.wait_for(resolver.addresses("other"), 0.05)

    play(script)


def test_while_the_name_server_has_trouble_the_last_answer_holds(server, play):
    async def script(resolver):
        await resolver.addresses("app")
        server.found = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        assert await resolver.addresses("app") == ("10.0.0.1",)
        with pytest.raises(NameUnknown):
            await resolver.addresses("other")

    play(script)


def test_a_name_that_nobody_asks_for_any_more_is_forgotten(server, play):
    async def script(resolver):
        await resolver.addresses("app")
        resolver.keep_only({"other"})
        server.found = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        with pytest.raises(NameUnknown):
            await resolver.addresses("app")

    play(script)


def test_the_system_is_asked():
    assert "127.0.0.1" in resolver_module._ask_system("localhost")
