"""What stands between the management app and whoever connects: one piece of ASGI for each of its two sockets.

Owns:      the name of each request, the bounds on bodies, time and requests at once, headers that every answer has.
Elsewhere: who may come in (doors.py), what each role may do (access.py), what is answered (routes.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

from clb.control.access import ACTOR, OPEN_PATHS, REQUEST_ID, Actor
from clb.control.doors import Door, Refused, Scope
from clb.control.problems import PROBLEM_JSON, problem
from clb.store.inventory import new_id

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take."""

    body_bytes: int = 1 << 20
    body_s: float = 20.0
    """Time for a body to arrive."""
    requests: int = 32
    """Requests at once; the open paths are not counted, since who asks them must always get an answer."""


class Guard:
    """An ASGI app around the app."""

    def __init__(self, app: App, door: Door, bounds: Bounds = Bounds()) -> None:
        self._app = app
        self._door = door
        self._bounds = bounds
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # Nothing else is served; the server closes the connection.
        scope[REQUEST_ID] = new_id("req")
        send = _with_common_headers(send, scope[REQUEST_ID])
        try:
            if scope["path"] in OPEN_PATHS:
                await self._app(scope, _no_body, send)
                return
            actor = scope[ACTOR] = self._door.admit(scope)
            self._check_room()
        except Refused as refused:
            await _refuse(refused, scope, send)
            return
        self._running += 1
        try:
            await self._answer(scope, receive, self._counting_forbidden(actor, send))
        finally:
            self._running -= 1

    def _check_room(self) -> None:
        if self._running >= self._bounds.requests:
            message = f"{self._bounds.requests} requests are being answered; try again"
            raise Refused(503, "busy", message, (b"retry-after", b"1"))

    def _counting_forbidden(self, actor: Actor, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 403:
                self._door.refusals.add(actor.name, "forbidden")
            await send(message)

        return sending

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._whole_body(scope, receive)
        except Refused as refused:
            await _refuse(refused, scope, send)
            return
        if body is not None:
            await self._app(scope, _Replay(body, receive), send)

    async def _whole_body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of the body, so that the bounds hold before any of it is understood; None if the client went away."""
        limit = self._bounds.body_bytes
        too_large = Refused(413, "body_too_large", f"the body is larger than {limit} bytes", (b"connection", b"close"))
        declared = _header(scope, b"content-length")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._bounds.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            text = f"the body did not arrive within {self._bounds.body_s:g} s"
            raise Refused(408, "body_timeout", text, (b"connection", b"close")) from None


class _Replay:
    """Gives a body that has been read, then whatever comes after it: the client's going away."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((bytes(value) for name, value in scope["headers"] if name == wanted), b"")


async def _refuse(refused: Refused, scope: Scope, send: Send) -> None:
    body = json.dumps(problem(refused.status, refused.code, str(refused), scope[REQUEST_ID])).encode("ascii")
    headers = [
        (b"content-type", PROBLEM_JSON.encode("ascii")),
        (b"content-length", b"%d" % len(body)),
        *refused.headers,
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_common_headers(send: Send, request_id: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in given}
            always = (
                *SECURITY_HEADERS,
                (b"date", formatdate(usegmt=True).encode("ascii")),
                (b"x-request-id", request_id.encode("ascii")),
            )
            message["headers"] = given + [header for header in always if header[0] not in names]
        await send(message)

    return sending
