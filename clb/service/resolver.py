"""Find the addresses of real servers that are named, again and again, whatever the name server does.

Owns:      looking names up, each once at a time; what was known last.
Elsewhere: dialling (probe_transport.py).

An IP address is itself. A name is looked up for each check; while the name server is silent, the addresses that were
found last are good enough, since it is the real server that is being checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

THREADS = 8
"""A look-up that hangs takes one for as long as the system's resolver tries, but only one for its name."""
PATIENCE_S = 0.5
"""How long a check waits for news of a name that is known already."""
MOST_ADDRESSES = 4
"""Tried one after the other, as the data path does."""


class NameUnknown(Exception):
    """There is no address; the text is for the operator."""


LookUp = Callable[[str], Sequence[str]]


class Resolver:
    """Of the control process."""

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up = look_up or _ask_system
        # Of its own, since what hangs here must hold up nobody else.
        self._threads = ThreadPoolExecutor(THREADS, "resolve")
        self._known: dict[str, Sequence[str]] = {}
        self._asked: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses of a host, at least one.

        Raises:
            NameUnknown: the name server says that there is none.
        """
        if _is_address(host):
            return (host,)
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.create_task(self._ask(host))
            # Whoever waited may have run out of time: then nobody else asks for what went wrong.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        known = self._known.get(host)
        done, _ = await asyncio.wait((task,), timeout=PATIENCE_S if known else None)
        return task.result() if done or known is None else known

    def keep_only(self, hosts: set[str]) -> None:
        """Forget names that nobody asks for any more."""
        self._known = {host: found for host, found in self._known.items() if host in hosts}

    async def _ask(self, host: str) -> Sequence[str]:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, partial(self._look_up, host))
        except OSError as error:
            if error.errno == socket.EAI_AGAIN and host in self._known:
                return self._known[host]
            self._known.pop(host, None)
            raise NameUnknown(f"name not found: {error.strerror or type(error).__name__}") from error
        finally:
            del self._asked[host]
        self._known[host] = found[:MOST_ADDRESSES]
        return self._known[host]

    async def close(self) -> None:
        """Wait for nobody: threads that hang end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        tasks = tuple(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ask_system(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
