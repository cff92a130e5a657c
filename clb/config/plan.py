"""What changes in a running node, and how: the words of `clb reload --plan`.

Owns:      the kinds of change and the shape of a plan.
Elsewhere: finding the changes (diff.py, diff_listeners.py); carrying them out (service/).
Pure:      plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How a change takes place."""

    IN_PLACE = "in_place"
    """In the running processes, from one request to the next."""
    DRAINED = "drained"
    """Takes no more work; what runs finishes within `node.drain_timeout`."""
    NEW_LISTENER = "new_listener"
    REMOVED_LISTENER = "removed_listener"
    NEW_SOCKETS = "new_sockets"
    """The listener moves to another address; its connections stay."""
    NEW_BASE = "new_base"
    """TLS sessions cannot be resumed across the change: clients shake hands in full once."""
    WORKERS = "workers"
    CONTROL_RESTART = "control_restart"
    """The control process is started anew; traffic does not notice."""
    NEEDS_RESTART = "needs_restart"
    """Not in a running node: the old value holds until the service is restarted."""

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS = {
    Kind.IN_PLACE: "in place",
    Kind.DRAINED: "drained",
    Kind.NEW_LISTENER: "new listener",
    Kind.REMOVED_LISTENER: "listener removed",
    Kind.NEW_SOCKETS: "new sockets",
    Kind.NEW_BASE: "fresh TLS sessions",
    Kind.WORKERS: "workers",
    Kind.CONTROL_RESTART: "management restarts",
    Kind.NEEDS_RESTART: "needs a restart",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One change."""

    kind: Kind
    where: str
    """A path of names: `shop/https rule shop.example.com/ target 10.0.0.5:8080`."""
    what: str
    listener: str = ""
    """The listener's key (`shop/https`), if it is one listener's."""

    def __str__(self) -> str:
        return f"{self.kind.words:<19} {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, in the order of the file."""

    entries: tuple[Entry, ...]

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries)) or "nothing changes"

    def of(self, *kinds: Kind) -> tuple[Entry, ...]:
        """Return the changes of these kinds."""
        return tuple(entry for entry in self.entries if entry.kind in kinds)

    def listeners(self, *kinds: Kind) -> frozenset[str]:
        """Return the keys of the listeners that have changes of these kinds."""
        return frozenset(entry.listener for entry in self.of(*kinds))


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in the files that a configuration names: they change while their names stay."""

    certificates: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of server certificates, by name."""
    authorities: Mapping[str, bytes] = field(default_factory=dict)
    """PEM of CA certificates, by name."""
    revocations: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    """PEM of revocation lists, by names of load balancer and listener."""
    admin: str = ""
    """Fingerprint of the management address's certificate."""
