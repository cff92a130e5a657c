"""Who may come in by which of the two sockets, and as whom.

Owns:      the rule of each socket, the refusals of the management address and how often they are given.
Elsewhere: what a token is (tokens.py), names of hosts (hosts.py), bounds on requests (guard.py), what each role may
           do (access.py).

The control socket is a file that only its owner can open; the kernel says who did. The management address asks for a
token. Without any token it answers nothing but health, and metrics where they are open.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any, Final, Protocol

from clb.control.access import Actor
from clb.control.failed_logins import FailureLimit, RefusalCounts, network_of
from clb.control.hosts import KnownHosts
from clb.control.tokens import TokenBook, actor_of
from clb.store.inventory import Role

Scope = MutableMapping[str, Any]

METRICS_PATH: Final = "/metrics"
PEER_UID: Final = "peer_uid"
"""Key of an ASGI scope's `state`: who opened the other end of the control socket, as the kernel says."""
CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="clb"')

_WHY: Final = {
    "wrong": ("wrong_credential", "the credential is no token of this node"),
    "expired": ("expired_credential", "the token has expired; make another with clb token create"),
    "revoked": ("revoked_credential", "the token has been revoked"),
}


class Refused(Exception):
    """A request that ends here."""

    def __init__(self, status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class Door(Protocol):
    """One of the two."""

    refusals: RefusalCounts
    """What was refused, for the audit log."""

    def admit(self, scope: Scope) -> Actor:
        """Say who asks.

        Raises:
            Refused: nobody who may.
        """


class SocketDoor:
    """The control socket."""

    def __init__(self, users: frozenset[int], refusals: RefusalCounts) -> None:
        self._users = users
        self.refusals = refusals

    def admit(self, scope: Scope) -> Actor:
        """Let in root and the user of the service."""
        user = scope.get("state", {}).get(PEER_UID)
        if not isinstance(user, int) or user not in self._users:
            self.refusals.add(f"uid:{user} (control socket)", "wrong user")
            raise Refused(403, "wrong_user", "ask as root or as the user that the node runs as")
        return Actor(f"uid:{user} (control socket)", Role.ADMIN, None)


class AddressDoor:
    """The management address; `hosts` and `metrics_open` may change while it serves."""

    def __init__(
        self, book: TokenBook, hosts: KnownHosts, limit: FailureLimit, refusals: RefusalCounts, *, metrics_open: bool
    ) -> None:
        self._book = book
        self._limit = limit
        self.hosts = hosts
        self.refusals = refusals
        self.metrics_open = metrics_open

    def admit(self, scope: Scope) -> Actor:
        """Let in who has a token."""
        self._check_host(scope)
        if scope["path"] == METRICS_PATH and self.metrics_open:
            return Actor("anybody (metrics_open)", Role.VIEWER, None)
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            message = "send Authorization: Bearer with a token; clb token create makes one, on the node itself"
            raise Refused(401, "no_credential", message, CHALLENGE)
        source = (scope.get("client") or ("",))[0]
        self._slow_down(source)
        found = self._book.find(given[0]) if len(given) == 1 else "wrong"
        if isinstance(found, str):
            self._limit.failed(source)
            self.refusals.add(network_of(source), found)
            code, message = _WHY[found]
            raise Refused(401, code, message, CHALLENGE)
        return actor_of(found)

    def _check_host(self, scope: Scope) -> None:
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1 or not self.hosts.knows(given[0]):
            raise Refused(
                421,
                "unknown_host",
                "use this address by its IP, as localhost, or by a name in admin.hosts or its certificate",
            )

    def _slow_down(self, source: str) -> None:
        """Too many wrong credentials from there: not even a right one is looked at for a while."""
        if (wait_s := self._limit.wait_s(source)) > 0:
            self.refusals.add(network_of(source), "too many failures")
            message = "too many wrong credentials came from this address; wait"
            raise Refused(429, "too_many_failures", message, (b"retry-after", b"%d" % math.ceil(wait_s)))
