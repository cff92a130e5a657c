"""Make one health check of one real server.

Owns:      what is sent, what of the answer is looked at, and the words for what was wrong.
Elsewhere: when and how often (prober.py); the bytes (probe_transport.py); what follows from it (health/rule_health.py).
Shell:     one connection for each check, closed behind it.

Only the head of an answer counts: a real server that streams or drips its body for ever holds nobody up, and the
time-out is one deadline for everything from the name to the head's last byte. Nothing is kept from one check to the
next: no connection, no cookie; redirects are answers like others, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass
from functools import lru_cache

import httpx

from clb.config.rules import HealthCheck
from clb.service.probe_transport import NotHttp, OwnFault, ProbeTransport, dial
from clb.service.resolver import NameUnknown, Resolver
from clb.units import format_duration

USER_AGENT = "clb-healthcheck"
_LATE = 1.5
"""A check that took so many times its time-out was held up by this process, which says nothing of the real server."""
_REMEMBERED_REQUESTS = 8192


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
    is_own_fault: bool = False
    """This machine was out of something, or late: the real server may be well."""


class Checker:
    """Asks."""

    def __init__(self, resolver: Resolver | None = None) -> None:
        self._resolver = resolver or Resolver()
        self._transport = ProbeTransport(self._resolver)

    async def ask(self, question: Question) -> Answer:
        """Make the check; never raises for anything that a real server can do."""
        started_at = time.monotonic()
        check = question.check
        is_good = is_own_fault = False
        try:
            async with asyncio.timeout(check.timeout):
                is_good, detail = await (self._http(question) if check.type == "http" else self._tcp(question))
        except TimeoutError:
            is_own_fault = time.monotonic() - started_at > check.timeout * _LATE
            detail = f"no answer within {format_duration(check.timeout)}"
        except OwnFault as fault:
            is_own_fault, detail = True, f"not made: {fault}"
        except (NotHttp, NameUnknown) as error:
            detail = str(error)
        except OSError as error:
            detail = _words(error)
        return Answer(is_good, detail, time.monotonic() - started_at, is_own_fault)

    async def warm_up(self) -> None:
        """Let the libraries load what they load with the first request, which takes longer than a check may."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            await self.ask(Question("127.0.0.1", nobody.getsockname()[1], "localhost", HealthCheck()))

    async def _http(self, question: Question) -> tuple[bool, str]:
        response = await self._transport.handle_async_request(_request(question))
        status, codes = response.status_code, question.check.codes
        if str(status) in codes or f"{status // 100}xx" in codes:
            return True, f"answered {status}"
        return False, f"answered {status}, wanted {', '.join(codes)}"

    async def _tcp(self, question: Question) -> tuple[bool, str]:
        _, writer = await dial(self._resolver, question.address, question.port)
        writer.transport.abort()
        return True, "connected"

    def keep_only(self, hosts: set[str]) -> None:
        """Forget the addresses of all other names."""
        self._resolver.keep_only(hosts)

    async def close(self) -> None:
        """Let go of what is open."""
        await self._resolver.close()


@lru_cache(_REMEMBERED_REQUESTS)
def _request(question: Question) -> httpx.Request:
    """Spell a check out, once: it is asked again and again."""
    where = f"[{question.address}]" if ":" in question.address else question.address
    return httpx.Request(
        question.check.method,
        f"http://{where}:{question.port}/",
        headers={"Host": question.host, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"},
        extensions={"target": question.check.path.encode("ascii")},
    )


def _words(error: OSError) -> str:
    """Say what the system said; the loop's own text names addresses, which the reader has at hand."""
    return f"connection failed: {os.strerror(error.errno).lower()}" if error.errno else "connection failed"
