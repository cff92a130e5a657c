"""Tell another system by HTTP, without ever waiting for it: signed, retried, and bounded.

Owns:      the queue, the signature, when to try again and when to give up, and counting what came of it.
Elsewhere: what is told (notices.py); the keys `notify.webhook` and `notify.secret` (config/node.py).
Shell:     one task in the control process; a receiver that hangs costs nobody anything but its own notices.

The signature is HMAC-SHA256 under `notify.secret` over the timestamp, a dot and the body, so that a receiver can refuse
what is old. docs/certificates.md tells how to check it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import random
import secrets
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from clb.observe.logging import fields

LONGEST_QUEUE: Final = 200
ATTEMPTS: Final = 10
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
"""Ten attempts stretch over about a quarter of an hour."""
TIMEOUT_S: Final = 10.0
DELIVERY_RESULTS: Final = ("delivered", "failed", "dropped")
"""Failed: refused, or given up after the last attempt. Dropped: the queue was full."""
_RETRIED: Final = frozenset({408, 425, 429})

_logger = logging.getLogger(__name__)

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""From URL, body and fields to the status of the answer.

Raises:
    httpx.HTTPError, OSError: there is none.
"""


@dataclass(frozen=True, slots=True)
class _Delivery:
    id: str
    kind: str
    body: bytes


class Webhook:
    """The receiver of the configuration, if there is one."""

    def __init__(
        self,
        wall: Callable[[], float],
        counts: Counter[str] | None = None,
        post: Post | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts = counts if counts is not None else Counter()
        self._wall = wall
        self._post = post or post_once
        self._sleep = sleep
        self._url: str | None = None
        self._secret: SecretStr | None = None
        self._waiting: deque[_Delivery] = deque()
        self._is_dropping = False
        """Told once until all is delivered."""
        self._something = asyncio.Event()

    def configure(self, url: str | None, secret: SecretStr | None) -> None:
        """Take what the configuration says; what waits goes to the new receiver, or to nobody."""
        self._url, self._secret = url, secret
        if url is None:
            self._waiting.clear()

    @property
    def is_configured(self) -> bool:
        """Whether anybody is told."""
        return self._url is not None

    def send(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Queue a notice; of too many the oldest is dropped."""
        if self._url is None:
            return
        delivery = _Delivery(secrets.token_hex(16), kind, json.dumps({"type": kind, **facts}).encode("ascii"))
        if len(self._waiting) >= LONGEST_QUEUE:
            dropped = self._waiting.popleft()
            self.counts["dropped"] += 1
            if not self._is_dropping:
                _logger.error("notices dropped, too many wait", extra=fields(kind=dropped.kind, waiting=LONGEST_QUEUE))
            self._is_dropping = True
        self._waiting.append(delivery)
        self._something.set()

    async def run(self) -> None:
        """Deliver, one after another, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.deliver_waiting()

    async def deliver_waiting(self) -> None:
        """Deliver what waits, and what comes meanwhile."""
        while self._waiting:
            await self._deliver(self._waiting.popleft())
        self._is_dropping = False

    async def _deliver(self, delivery: _Delivery) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            if self._url is None:
                return
            fault = await self._try(self._url, delivery)
            if fault is None:
                self.counts["delivered"] += 1
                return
            told = fields(to=_shown(self._url), kind=delivery.kind, delivery=delivery.id, attempt=attempt, error=fault)
            if fault.startswith("refused") or attempt == ATTEMPTS:
                self.counts["failed"] += 1
                _logger.error("notice not delivered", extra=told)
                return
            _logger.warning("notice not delivered yet", extra=told)
            # Spread out, so that a fleet does not knock at the same moment.
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1))
            await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    async def _try(self, url: str, delivery: _Delivery) -> str | None:
        """Post it once; return what went wrong."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(url, delivery.body, self._headers(delivery))
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return type(error).__name__
        if 200 <= status < 300:
            return None
        if status >= 500 or status in _RETRIED:
            return f"status {status}"
        return f"refused with status {status}"

    def _headers(self, delivery: _Delivery) -> dict[str, str]:
        timestamp = str(int(self._wall()))
        headers = {
            "content-type": "application/json",
            "user-agent": "clb",
            "clb-delivery": delivery.id,
            "clb-timestamp": timestamp,
        }
        if self._secret is not None:
            headers["clb-signature"] = signature(self._secret.get_secret_value(), timestamp, delivery.body)
        return headers


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What proves that a notice is this node's, and of that moment."""
    text = timestamp.encode("ascii") + b"." + body
    return f"v1={hmac.new(secret.encode('utf-8'), text, hashlib.sha256).hexdigest()}"


async def post_once(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """A connection for each notice: there are few, and none is kept open for weeks."""
    # The CAs of this machine, which may have an own one, and not those that httpx brings along.
    trusted = ssl.create_default_context()
    async with (
        httpx.AsyncClient(verify=trusted, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
        # What the receiver has to say is not read, however much it is.
        client.stream("POST", url, content=body, headers=dict(headers)) as response,
    ):
        return response.status_code


def _shown(url: str) -> str:
    """The receiver without what may be a secret in its URL: user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"
