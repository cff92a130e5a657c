"""Addresses of real servers that are configured by name.

Owns:      asking the system's resolver, how long an answer holds, what is done while none comes.
Elsewhere: connecting (pool.py).

The resolver is asked in threads, since nothing else can be: `getaddrinfo` waits, up to half a minute if the name server
is silent. One name is asked for once at a time and all names together in a bounded number of threads, so a resolver
that hangs costs those threads and nothing else: who dials waits a second at most if the name was known before, and goes
on with the addresses that it had.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from clb.errors import DialRefused

LIFE_S = 5.0
"""An answer that old is asked for again. The system's resolver does not tell how long it would hold."""
PATIENCE_S = 1.0
"""So long a fresh answer is waited for where an old one is at hand."""
MOST_LOOKUPS = 32
MOST_ADDRESSES = 4
"""Of one name; each is tried within the same `timeouts.connect`."""

Lookup = Callable[[str], tuple[str, ...]]


def is_address(text: str) -> bool:
    """Whether this is an IP address, and no name."""
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def look_up(name: str) -> tuple[str, ...]:
    """Ask the system; waits.

    Raises:
        OSError: nobody knows the name, or nobody answers.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:MOST_ADDRESSES]


@dataclass(slots=True)
class _Name:
    addresses: tuple[str, ...] = ()
    """Those of the last good answer."""
    fresh_until: float = float("-inf")
    pending: asyncio.Future[tuple[str, ...]] | None = field(default=None, repr=False)


class Names:
    """What one process knows. It holds the names that targets have or had: a removed one is a line of memory."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._names: dict[str, _Name] = {}
        self._lookups = 0

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Return a name's addresses, the one to be tried first in front.

        Raises:
            DialRefused: it has none, or the resolver answers nobody.
        """
        known = self._names.setdefault(name, _Name())
        loop = asyncio.get_running_loop()
        if loop.time() < known.fresh_until:
            return known.addresses
        if known.pending is None:
            self._ask(name, known, loop)
        pending = known.pending
        if pending is None:
            return known.addresses
        # Shielded: several may wait for one answer, and one of them giving up must not take it from the others.
        if not known.addresses:
            return await asyncio.shield(pending)
        try:
            return await asyncio.wait_for(asyncio.shield(pending), PATIENCE_S)
        except (TimeoutError, DialRefused):
            return known.addresses

    def doubt(self, name: str) -> None:
        """Ask again before the name is used again: its addresses did not answer."""
        if name in self._names:
            self._names[name].fresh_until = float("-inf")

    def _ask(self, name: str, known: _Name, loop: asyncio.AbstractEventLoop) -> None:
        if self._lookups >= MOST_LOOKUPS:
            if not known.addresses:
                raise DialRefused(f"{name}: {MOST_LOOKUPS} names wait for the resolver already")
            return
        self._lookups += 1
        known.pending = loop.create_future()
        threading.Thread(target=self._run, args=(name, known, loop), name=f"resolve {name}", daemon=True).start()

    def _run(self, name: str, known: _Name, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own."""
        result: tuple[str, ...] | DialRefused
        try:
            result = self._lookup(name)
        except (OSError, UnicodeError) as error:
            result = DialRefused(f"{name}: {error.strerror if isinstance(error, OSError) else error}")
        with suppress(RuntimeError):  # The process ends, and its loop is closed.
            loop.call_soon_threadsafe(self._answered, known, result)

    def _answered(self, known: _Name, result: tuple[str, ...] | DialRefused) -> None:
        self._lookups -= 1
        pending, known.pending = known.pending, None
        assert pending is not None  # made when the thread was
        if isinstance(result, DialRefused):
            pending.set_exception(result)
            pending.exception()  # Whoever waited may have gone.
        else:
            known.addresses, known.fresh_until = result, pending.get_loop().time() + LIFE_S
            pending.set_result(result)
