"""One check against real servers that do what real servers do."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import uvloop
from real_server import OK, Conversation, RealServer

from clb.config.rules import HealthCheck
from clb.service import probe as probe_module
from clb.service import probe_transport
from clb.service.probe import Answer, Checker, Question
from clb.service.resolver import Resolver

TIMEOUT_S = 0.4


def check(port: int, *, address: str = "127.0.0.1", resolver: Resolver | None = None, **keys: Any) -> Answer:
    """Ask once."""
    settings = HealthCheck.model_validate({"timeout": "400ms", "interval": "1s", **keys})
    host = "" if settings.type == "tcp" else "shop.example.com"

    async def ask() -> Answer:
        checker = Checker(resolver)
        try:
            return await checker.ask(Question(address, port, host, settings))
        finally:
            await checker.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ask())


def answers(data: bytes) -> Callable[[Conversation], None]:
    def play(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.send(data)
        conversation.read_to_end()

    return play


def repeats(first: bytes, again: bytes, pause_s: float = 0.0) -> Callable[[Conversation], None]:
    """Sends for ever."""

    def play(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.send(first)
        while True:
            conversation.send(again)
            time.sleep(pause_s)

    return play


def hangs(conversation: Conversation) -> None:
    conversation.read_to_end()


def resets(conversation: Conversation) -> None:
    conversation.read_head()
    conversation.reset()


def closes(conversation: Conversation) -> None:
    conversation.read_head()


SLOW = "no answer within 400ms"
GARBAGE = "what came is no HTTP answer"
ENDLESS_HEAD = b"HTTP/1.1 200 OK\r\n"
BEHAVIOURS = {  # case: (what the real server does, is it good, in words)
    "answers": (answers(OK), True, "answered 200"),
    "answers_404": (answers(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), True, "answered 404"),
    "redirects": (answers(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), True, "answered 302"),
    "streams_for_ever": (repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), True, "answered 200"),
    "http_1_0": (answers(b"HTTP/1.0 200 OK\r\n\r\n"), True, "answered 200"),
    "interim_answer_first": (answers(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK), True, "answered 200"),
    "answers_500": (answers(b"HTTP/1.1 500 Oops\r\n\r\n"), False, "answered 500, wanted 2xx, 3xx, 4xx"),
    "hangs": (hangs, False, SLOW),
    "resets": (resets, False, None),
    "closes": (closes, False, "closed without an answer"),
    "closes_in_the_head": (lambda one: (one.read_head(), one.send(b"HTTP/1.1 2")), False, None),
    "garbage": (answers(b"\x00\x01\x02 hello\r\n\r\n"), False, GARBAGE),
    "speaks_first": (lambda one: one.send(b"220 mail.example.com ESMTP\r\n"), False, None),
    "drips": (repeats(ENDLESS_HEAD, b"a", 0.05), False, SLOW),
    "drips_lines": (repeats(ENDLESS_HEAD, b"a: b\r\n", 0.05), False, SLOW),
    "endless_line": (repeats(ENDLESS_HEAD + b"a: ", b"x" * 4096), False, None),
    "endless_lines": (repeats(ENDLESS_HEAD, b"a: b\r\n" * 500), False, None),
    "endless_interim": (repeats(b"", b"HTTP/1.1 103 Early\r\n\r\n" * 100), False, "no end of the head within 64 KiB"),
    "switches_unasked": (answers(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), False, GARBAGE),
}


@pytest.mark.parametrize(("script", "is_good", "detail"), BEHAVIOURS.values(), ids=BEHAVIOURS)
def test_what_real_servers_do(script, is_good, detail):
    with RealServer(script=script) as server:
        answer = check(server.port)
        assert (answer.is_good, answer.is_own_fault) == (is_good, False), answer
        assert detail in (None, answer.detail), answer
        assert answer.took_s < TIMEOUT_S * 1.5
        # Nothing is read on once the verdict is there, and nothing is left open.
        server.wait_for(lambda: all(one.socket.fileno() < 0 for one in server.conversations))


def test_nobody_listens(refused_port):
    answer = check(refused_port())
    assert (answer.is_good, answer.detail) == (False, "connection failed: connection refused")


@pytest.fixture
def black_hole(closing: ExitStack) -> int:
    """A port whose queue is full: the system drops what comes for it, as a dead machine's router does."""
    listener = closing.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        filler = closing.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_black_hole_takes_the_timeout_and_no_more(black_hole, kind):
    answer = check(black_hole, type=kind)
    assert (answer.is_good, answer.detail) == (False, SLOW)
    # The loop's clock counts whole milliseconds, so a timer may be due a little early by the finer one.
    assert TIMEOUT_S - 0.002 <= answer.took_s < TIMEOUT_S * 1.5


def test_what_is_sent(real_server):
    check(real_server.port, path="/up?deep=%41|b", method="GET")
    (head,) = real_server.heads
    lines = head.split(b"\r\n")
    assert lines[0] == b"GET /up?deep=%41|b HTTP/1.1"
    assert {line.lower() for line in lines[1:-2]} == {
        b"host: shop.example.com",
        b"user-agent: clb-healthcheck",
        b"accept: */*",
        b"connection: close",
    }


def test_head_is_the_default(real_server):
    check(real_server.port)
    assert real_server.heads[0].startswith(b"HEAD / HTTP/1.1\r\n")


def test_nothing_is_kept_from_one_check_to_the_next():
    with RealServer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n") as server:

        async def ask() -> None:
            checker = Checker()
            question = Question("127.0.0.1", server.port, "shop.example.com", HealthCheck())
            assert (await checker.ask(question)).is_good
            assert (await checker.ask(question)).is_good
            await checker.close()

        asyncio.run(ask())
        assert len(server.conversations) == 2
        assert server.heads[0] == server.heads[1]


def test_the_environment_names_no_proxy(real_server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert check(real_server.port).is_good


CODES = {  # case: (codes, status, is it good)
    "class": (["2xx"], 204, True),
    "another_class": (["2xx"], 302, False),
    "single": (["2xx", "418"], 418, True),
    "beside_a_single": (["2xx", "418"], 419, False),
    "server_errors_may_be_good": (["5xx"], 503, True),
}


@pytest.mark.parametrize(("codes", "status", "is_good"), CODES.values(), ids=CODES)
def test_codes(codes, status, is_good):
    with RealServer(b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n\r\n" % status) as server:
        assert check(server.port, codes=tuple(codes)).is_good is is_good


def test_tcp_only_connects():
    with RealServer(script=hangs) as server:
        answer = check(server.port, type="tcp")
        assert (answer.is_good, answer.detail) == (True, "connected")
        server.wait_for(lambda: [one.socket.fileno() for one in server.conversations] == [-1])
        assert server.conversations[0].received == b""


def test_a_name_is_looked_up(real_server):
    assert check(real_server.port, address="app.internal", resolver=Resolver(lambda _: ("127.0.0.1",))).is_good


def test_the_next_address_is_tried(real_server):
    both = Resolver(lambda _: ("127.0.0.2", "127.0.0.1"))
    assert check(real_server.port, address="app.internal", resolver=both).is_good


def test_a_name_that_is_not_there():
    def unknown(_: str) -> tuple[str, ...]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer = check(80, address="app.internal", resolver=Resolver(unknown))
    assert (answer.is_good, answer.is_own_fault) == (False, False)
    assert answer.detail == "name not found: Name or service not known"


def test_having_no_descriptor_left_is_not_the_real_server_s_fault(real_server, monkeypatch):
    async def no_descriptor(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(probe_transport.asyncio, "open_connection", no_descriptor)
    answer = check(real_server.port)
    assert (answer.is_good, answer.is_own_fault, answer.detail) == (False, True, "not made: Too many open files")


def test_being_late_oneself_is_not_the_real_server_s_fault(monkeypatch):
    async def late(*_: object) -> None:
        time.sleep(TIMEOUT_S * 2)  # noqa: ASYNC251 - a loop that is held up is what this is about
        await asyncio.sleep(10)

    monkeypatch.setattr(probe_module.Checker, "_http", late)
    answer = check(1)
    assert (answer.is_good, answer.is_own_fault) == (False, True)


def test_an_error_without_a_number_has_words():
    assert probe_module._words(OSError()) == "connection failed"


def test_warming_up_needs_nobody():
    async def warm_up() -> None:
        checker = Checker()
        await checker.warm_up()
        await checker.close()

    asyncio.run(warm_up())
