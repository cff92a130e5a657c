"""Targets that are configured by name: asked for once at a time, remembered, used on while nobody answers."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from real_server import WAIT_S
from test_update import target_of

from clb.errors import DialRefused
from clb.proxy import names as names_module
from clb.proxy.names import Names, is_address, look_up


class Resolver:
    """Answers what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, ...] | OSError] = {}
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        assert self.may_answer.wait(WAIT_S)
        answer = self.answers[name]
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def resolver(closing):
    found = Resolver()
    closing.callback(found.may_answer.set)
    return found


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    monkeypatch.setattr(names_module, "PATIENCE_S", 0.05)


def run(script):
    asyncio.run(asyncio.wait_for(script, WAIT_S))


IS_ADDRESS = {"10.0.0.5": True, "::1": True, "fe80::1%eth0": True, "app": False, "10.0.0": False}


@pytest.mark.parametrize(("text", "expected"), IS_ADDRESS.items())
def test_addresses_are_no_names(text, expected):
    assert is_address(text) is expected


def test_the_system_is_asked():
    assert look_up("localhost")[0] in ("127.0.0.1", "::1")
    with pytest.raises(OSError, match=r"."):
        look_up("name.invalid")


def test_an_answer_holds_for_a_moment(resolver, monkeypatch):
    resolver.answers["app"] = ("10.0.0.1", "10.0.0.2")

    async def script():
        names = Names(resolver)
        for _ in range(3):
            assert await names.addresses("app") == ("10.0.0.1", "10.0.0.2")
        assert resolver.asked == ["app"]
        resolver.answers["app"] = ("10.0.0.3",)
        names.doubt("app")
        names.doubt("unheard of")
        assert await names.addresses("app") == ("10.0.0.3",)
        monkeypatch.setattr(names_module, "LIFE_S", 0.0)
        names.doubt("app")
        for _ in range(3):
            await names.addresses("app")
        assert len(resolver.asked) == 5

    run(script())


def test_a_name_is_asked_for_once_at_a_time(resolver):
    resolver.answers["app"] = ("10.0.0.1",)
    resolver.may_answer.clear()

    async def script():
        names = Names(resolver)
        waiting = [asyncio.create_task(names.addresses("app")) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        resolver.may_answer.set()
        assert await asyncio.gather(*waiting[1:]) == [("10.0.0.1",)] * 19
        assert resolver.asked == ["app"]

    run(script())


def test_a_name_that_nobody_knows(resolver):
    resolver.answers["app"] = socket.gaierror(-2, "Name or service not known")

    async def script():
        names = Names(resolver)
        for _ in range(2):
            with pytest.raises(DialRefused, match="app: Name or service not known"):
                await names.addresses("app")
        resolver.answers["app"] = ("10.0.0.1",)
        assert await names.addresses("app") == ("10.0.0.1",)

    run(script())


def test_what_was_known_is_used_while_the_resolver_hangs_or_fails(resolver):
    resolver.answers["app"] = ("10.0.0.1",)

    async def script():
        names = Names(resolver)
        await names.addresses("app")
        names.doubt("app")
        resolver.may_answer.clear()
        for _ in range(3):
            assert await names.addresses("app") == ("10.0.0.1",)
        assert len(resolver.asked) == 2
        resolver.answers["app"] = OSError(11, "Try again")
        resolver.may_answer.set()
        assert await names.addresses("app") == ("10.0.0.1",)
        resolver.answers["app"] = ("10.0.0.2",)
        while await names.addresses("app") != ("10.0.0.2",):
            pass

    run(script())


def test_a_resolver_that_hangs_costs_a_bounded_number_of_threads(resolver, monkeypatch):
    monkeypatch.setattr(names_module, "MOST_LOOKUPS", 3)
    resolver.answers = {f"app-{number}": ("10.0.0.1",) for number in range(5)}

    async def script():
        names = Names(resolver)
        await names.addresses("app-4")
        names.doubt("app-4")
        resolver.may_answer.clear()
        waiting = [asyncio.create_task(names.addresses(f"app-{number}")) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(DialRefused, match="3 names wait"):
            await names.addresses("app-3")
        assert await names.addresses("app-4") == ("10.0.0.1",)
        resolver.may_answer.set()
        await asyncio.gather(*waiting)
        assert await names.addresses("app-3") == ("10.0.0.1",)

    run(script())


def test_an_answer_that_comes_when_the_loop_is_gone(resolver):
    resolver.answers["app"] = ("10.0.0.1",)
    resolver.may_answer.clear()
    names = Names(resolver)
    loop = asyncio.new_event_loop()
    task = loop.create_task(names.addresses("app"))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "resolve app"]
    resolver.may_answer.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()


# --- in the pool ---


def named(port, address="app.test"):
    return {"domain": "shop.example.com", "default": True, "targets": [{"address": address, "port": port}]}


def resolve(proxy, **answers):
    """Let the proxy's names be what the test says."""
    resolver = Resolver()
    resolver.answers = {f"{name}.test": answer for name, answer in answers.items()}
    proxy.names._lookup = resolver
    return resolver


def test_a_target_by_name_is_served(serve, real_server):
    proxy = serve(rules=[named(real_server.port)])
    resolver = resolve(proxy, app=("127.0.0.1",))
    client = proxy.connect()
    assert [client.ask().status for _ in range(3)] == [200] * 3
    assert resolver.asked == ["app.test"]
    assert b"\r\nHost: shop.example.com\r\n" in real_server.heads[0]


def test_the_next_address_is_tried(serve, real_server):
    proxy = serve(rules=[named(real_server.port)])
    resolve(proxy, app=("127.0.0.2", "127.0.0.1"))  # nobody listens on the first
    assert proxy.connect().ask().status == 200


def test_a_name_that_moved_is_found(serve, real_server):
    proxy = serve(rules=[named(real_server.port)])
    resolver = resolve(proxy, app=("127.0.0.2",))
    client = proxy.connect()
    assert client.ask().status == 502
    resolver.answers["app.test"] = ("127.0.0.1",)
    assert client.ask().status == 200
    assert len(resolver.asked) == 2


def test_a_name_that_nobody_knows_is_a_bad_gateway(serve, real_server):
    proxy = serve(rules=[named(real_server.port)])
    resolve(proxy, app=socket.gaierror(-2, "Name or service not known"))
    assert proxy.connect().ask().status == 502


def test_a_resolver_that_hangs_is_timed_out_and_nobody_else_waits(serve, real_server):
    rules = [named(real_server.port), {**named(real_server.port, "127.0.0.1"), "url": "/ip", "default": False}]
    proxy = serve(rules=rules, timeouts={"connect": "200ms"})
    resolver = resolve(proxy, app=("127.0.0.1",))
    resolver.may_answer.clear()
    by_name, by_address = proxy.connect(), proxy.connect()
    by_name.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
    pool = target_of_name(proxy)
    proxy.wait_until(lambda: pool.open_connections == 1)
    assert by_address.ask("/ip").status == 200
    assert by_name.read_answer().status == 504
    resolver.may_answer.set()
    assert by_name.ask().status == 200


def target_of_name(proxy):
    return next(rule for rule in proxy.listener.rules if rule.config.url == "/").candidates[0].payload


def test_targets_by_address_ask_nobody(serve, real_server):
    proxy = serve(targets=[real_server.port])
    resolver = resolve(proxy)
    assert proxy.connect().ask().status == 200
    assert target_of(proxy, real_server.port).payload._names is None
    assert not resolver.asked
