"""The base contexts, made before the fork, and which listener uses which.

Owns:      the pool, and the rule that a listener whose sessions must not be resumed any more gets a fresh one.
Elsewhere: setting a base up (tls/contexts.py, in each worker); docs/decisions/base-contexts-before-the-fork.md.

The keys that seal session tickets are drawn when a context is made. Workers that inherit one context by the fork
therefore resume each other's sessions. A base is given to one listener and never to another: who holds a ticket of
the first must not be let into the second by it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from clb.tls.contexts import bare_context

SPARES: Final = 64
"""Listeners added, and changes of policy, CA or list, before new workers are needed. A bare context takes 13.4 KiB
(measured, OpenSSL 3.0) in pages that all processes share: 0.9 MiB."""

Assigned = Mapping[str, tuple[int, str]]
"""By listener: its place in the pool, and the fingerprint of what its sessions were checked against."""


class Bases:
    """The pool. Lives in the supervisor; children have it as it was at their fork."""

    def __init__(self) -> None:
        self.contexts: list[ssl.SSLContext] = []
        self.assigned: dict[str, tuple[int, str]] = {}
        self._next = 0

    def assign(self, fingerprints: Mapping[str, str]) -> dict[str, tuple[int, str]]:
        """Return a place for each listener: the one it has, or a fresh one if its fingerprint is another.

        Changes nothing; `take` does. A place may be beyond the pool: see `missing`.
        """
        fresh = self._next
        assigned = {}
        for key, fingerprint in fingerprints.items():
            has = self.assigned.get(key)
            if has is None or has[1] != fingerprint:
                has = (fresh, fingerprint)
                fresh += 1
            assigned[key] = has
        return assigned

    def missing(self, assigned: Assigned) -> bool:
        """Whether some of these are not in the pool: workers that run do not have them."""
        return any(place >= len(self.contexts) for place, _ in assigned.values())

    def grow(self, assigned: Assigned) -> None:
        """Make what is missing, and spares; the next workers have them."""
        wanted = max([self._next, *(place + 1 for place, _ in assigned.values())]) + SPARES
        self.contexts += [bare_context() for _ in range(wanted - len(self.contexts))]

    def take(self, assigned: Assigned) -> None:
        """These are in service from now on."""
        self.assigned = dict(assigned)
        self._next = max([self._next, *(place + 1 for place, _ in assigned.values())])
