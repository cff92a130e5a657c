"""Notices over HTTP: signed, tried again, bounded, and nobody waits for them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import SecretStr

from clb.control import webhook
from clb.control.webhook import ATTEMPTS, LONGEST_QUEUE, Webhook, post_once, signature

URL = "https://user:password@hooks.example/secret-path?key=secret"
NOW = 1_800_000_000.0


class Receiver:
    """Answers with what it is told to, and remembers what came."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.got = []
        self.pauses = []
        self.hook = Webhook(lambda: NOW, post=self.post, sleep=self.sleep)
        self.hook.configure(URL, SecretStr("key"))

    async def post(self, url, body, headers):
        self.got.append((url, body, dict(headers)))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def play(self, *kinds):
        for kind in kinds:
            self.hook.send(kind, {"n": 1})
        asyncio.run(self.hook.deliver_waiting())
        return self


def test_a_notice_is_signed():
    receiver = Receiver().play("certificate.expiring")
    ((url, body, headers),) = receiver.got
    assert url == URL
    assert json.loads(body) == {"type": "certificate.expiring", "n": 1}
    assert headers["clb-timestamp"] == "1800000000"
    expected = hmac.new(b"key", b"1800000000." + body, hashlib.sha256).hexdigest()
    assert headers["clb-signature"] == f"v1={expected}" == signature("key", "1800000000", body)


def test_without_a_secret_there_is_no_signature():
    receiver = Receiver()
    receiver.hook.configure(URL, None)
    receiver.play("x")
    assert "clb-signature" not in receiver.got[0][2]


TRIED_AGAIN = {
    "status_500": 500,
    "status_429": 429,
    "no_connection": httpx.ConnectError("secret"),
    "silence": TimeoutError(),
    "os": OSError("secret"),
}


@pytest.mark.parametrize("answer", TRIED_AGAIN.values(), ids=TRIED_AGAIN)
def test_tried_again_as_the_same_delivery(answer):
    receiver = Receiver(answer, answer, 200).play("x")
    assert receiver.hook.counts["delivered"] == 1
    assert len({headers["clb-delivery"] for _, _, headers in receiver.got}) == 1
    assert len({body for _, body, _ in receiver.got}) == 1
    first, second = receiver.pauses
    assert 0.5 <= first <= 1
    assert 1 <= second <= 2


def test_given_up_after_the_last_attempt(caplog):
    receiver = Receiver(*[500] * ATTEMPTS).play("x")
    assert (len(receiver.got), receiver.hook.counts["failed"]) == (ATTEMPTS, 1)
    assert max(receiver.pauses) <= webhook.LONGEST_PAUSE_S
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.message == "notice not delivered"


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
def test_a_refusal_is_final(status):
    receiver = Receiver(status).play("x", "y")
    assert len(receiver.got) == 2
    assert (receiver.hook.counts["failed"], receiver.hook.counts["delivered"]) == (1, 1)


def test_what_may_be_secret_in_the_url_is_not_logged(caplog):
    Receiver(httpx.ConnectError("to user:password"), 400).play("x")
    shown = "".join(str(vars(record)) for record in caplog.records)
    assert "https://hooks.example" in shown
    assert not any(word in shown for word in ("password", "secret", "user:"))


def test_nobody_waits_and_of_too_many_the_oldest_go():
    receiver = Receiver()
    for number in range(LONGEST_QUEUE + 5):
        receiver.hook.send("x", {"n": number})
    assert receiver.hook.counts["dropped"] == 5

    asyncio.run(receiver.hook.deliver_waiting())
    assert json.loads(receiver.got[0][1])["n"] == 5


def test_without_a_receiver_nothing_is_kept():
    hook = Webhook(lambda: NOW)
    assert not hook.is_configured
    hook.send("x", {})
    hook.configure(URL, None)
    hook.send("x", {})
    hook.configure(None, None)
    assert not hook._waiting


@asynccontextmanager
async def answering(answer):
    heard = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1", heard


@pytest.mark.parametrize("status", [200, 302, 500])
def test_over_a_real_connection(status):
    async def run():
        head = f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 100000\r\n\r\nbegun"
        async with answering(head.encode()) as (url, heard):
            assert await post_once(url, b'{"a": 1}', {"clb-delivery": "d"}) == status
        return heard[0]

    heard = asyncio.run(run())
    assert heard.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
    assert heard.endswith(b'{"a": 1}')
    assert b"clb-delivery: d\r\n" in heard


def test_the_task_delivers_what_comes_while_it_runs():
    arrived = asyncio.Event()

    async def post(url, body, headers):
        arrived.set()
        return 200

    async def run():
        hook = Webhook(lambda: NOW, post=post)
        hook.configure(URL, None)
        task = asyncio.create_task(hook.run())
        for _ in range(2):
            await asyncio.sleep(0)
            hook.send("x", {})
            await asyncio.wait_for(arrived.wait(), 10)
            arrived.clear()
        task.cancel()

    asyncio.run(run())
