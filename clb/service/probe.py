"""Make one health check of one real server.

Owns:      what is sent, what of the answer is looked at, and the words for what was wrong.
Elsewhere: when and how often (prober.py); what follows from the result (health/rule_health.py).
Shell:     one connection for each check, closed behind it.

Only the head of an answer counts: a real server that streams or drips its body for ever holds nobody up, and the
time-out is one deadline for everything from the name to the head's last byte.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass

import httpx

from clb.config.rules import HealthCheck

USER_AGENT = "clb-healthcheck"


@dataclass(frozen=True, slots=True)
class Question:
    """One check of one real server; rules that ask the same share it."""

    address: str
    port: int
    host: str
    """Host header of an HTTP check; empty for TCP."""
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    is_good: bool
    detail: str
    took_s: float


class Checker:
    """Asks; one client of httpx for all, which keeps no connection, follows nothing and believes no environment."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(limits=limits, trust_env=False, retries=0),
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113 - `ask` has one deadline for all of it
        )

    async def ask(self, question: Question) -> Answer:
        """Make the check; never raises for anything that a real server can do."""
        started_at = time.monotonic()
        check = question.check
        try:
            async with asyncio.timeout(check.timeout):
                is_good, detail = await (self._http(question) if check.type == "http" else _tcp(question))
        except TimeoutError:
            is_good, detail = False, f"no answer within {check.timeout:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            is_good, detail = False, _words(error)
        return Answer(is_good, detail, time.monotonic() - started_at)

    async def warm_up(self) -> None:
        """Let the libraries load what they load with the first request, which takes longer than a check may."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            await self.ask(Question("127.0.0.1", nobody.getsockname()[1], "localhost", HealthCheck()))

    async def _http(self, question: Question) -> tuple[bool, str]:
        check = question.check
        where = f"[{question.address}]" if ":" in question.address else question.address
        headers = {"Host": question.host, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
        url = f"http://{where}:{question.port}{check.path}"
        async with self._client.stream(check.method, url, headers=headers) as response:
            status = response.status_code
        if any(pattern in (str(status), f"{status // 100}xx") for pattern in check.codes):
            return True, f"answered {status}"
        return False, f"answered {status}, wanted {', '.join(check.codes)}"

    async def close(self) -> None:
        """Let go of what is open."""
        await self._client.aclose()


async def _tcp(question: Question) -> tuple[bool, str]:
    _, writer = await asyncio.open_connection(question.address, question.port)
    writer.close()
    return True, "connected"


def _words(error: Exception) -> str:
    """Say what went wrong, without what a stranger sent."""
    from_system = _system_error(error)
    if from_system is not None and from_system.strerror:
        return f"connection failed: {from_system.strerror.lower()}"
    if isinstance(error, httpx.ConnectError | OSError):
        return "connection failed"
    if isinstance(error, httpx.ReadError | httpx.RemoteProtocolError):
        return "what came is no HTTP answer, or it ended too soon"
    return f"failed: {type(error).__name__}"


def _system_error(error: BaseException) -> OSError | None:
    """Find what the kernel said among the causes, behind what libraries made of it."""
    found = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            found = cause
        cause = cause.__cause__ or cause.__context__
    return found
