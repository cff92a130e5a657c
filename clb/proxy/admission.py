"""Which new connections are taken, and which old ones make room for them.

Owns:      caps and rates of connections and handshakes, lists of addresses, the order in which things give way.
Elsewhere: requests (request_gate.py); the shared numbers (node_share.py); descriptors (descriptors.py); lateness
           (saturation.py).

All of it runs once for each connection or once for each sweep, never for a request. A connection that is refused is
reset: it costs neither side anything more, and the client knows at once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from clb.config.models import Limits, Listener, NodeLimits, RateCap
from clb.metering.cells import NODE, ListenerField, NodeField
from clb.proxy.descriptors import Descriptors
from clb.proxy.node_share import NodeRate, NodeShare
from clb.proxy.saturation import Saturation
from clb.routing.networks import AccessList, source_network

if TYPE_CHECKING:
    from clb.proxy.connection import ClientConnection
    from clb.proxy.listener import ListenerRuntime
    from clb.proxy.pool import TargetPool

SEARCH_EVERY_S = 0.1
"""Looking for connections that can be spared takes a look at each one, so it is not done for each new one."""


class Events(Protocol):
    """Where changes of a worker's state go."""

    def log(self, level: int, reason: str, message: str, **values: object) -> None:
        """Take one event."""


class NodeAdmission:
    """What all listeners of a process have in common."""

    def __init__(self, share: NodeShare, limits: NodeLimits, events: Events) -> None:
        self.share = share
        self.limits = limits
        self.connections = 0
        """Of clients, in this process."""
        self.pools: set[TargetPool] = set()
        """Those that have connections, of removed targets too; they enter and leave by themselves."""
        self.saturation = Saturation(limits.loop_lag)
        self.descriptors = Descriptors(limits.descriptor_reserve)
        self._events = events
        self._listeners: WeakSet[ListenerRuntime] = WeakSet()
        self._spare: deque[ClientConnection] = deque()
        self._searched_at = float("-inf")
        self.connections_at = share.place(NODE, NodeField.CONNECTIONS)
        self.accepted_at = share.place(NODE, NodeField.ACCEPTED)
        self.handshakes_at = share.place(NODE, NodeField.HANDSHAKES)

    def configure(self, limits: NodeLimits) -> None:
        """Take over a changed configuration."""
        self.limits = limits
        self.saturation.threshold_s = limits.loop_lag
        self.descriptors.configure(limits.descriptor_reserve)

    def register(self, listener: ListenerRuntime) -> None:
        """Know a listener for as long as it lives."""
        self._listeners.add(listener)

    def refusal(self, now: float) -> str:
        """Tell why no new connection is taken now, or nothing."""
        if self.saturation.is_saturated:
            return "saturated"
        limit = self.limits.connections
        if limit is not None and self.share.total(self.connections_at) >= limit:
            return "node_connections"
        if self.connections >= self.descriptors.most_connections and not self._make_room(now):
            return "descriptors"
        return ""

    def sweep(self, now: float, lag_s: float) -> None:
        """Look at what changes slowly: who is alive, how late the loop is, how many descriptors are left."""
        self.share.refresh(now)
        if self.saturation.look(lag_s):
            is_saturated = self.saturation.is_saturated
            message = "new connections are refused" if is_saturated else "new connections are taken again"
            self._events.log(logging.WARNING, "saturated", message, lag_ms=round(lag_s * 1000))
        upstream = sum(pool.open_connections for pool in self.pools)
        self.descriptors.look(now, self.connections, upstream)
        for _ in range(self.connections - self.descriptors.most_connections):
            if not self._make_room(now):
                break
        self._spare.clear()  # Who was to be spared half a second ago may be busy, or gone.

    def _make_room(self, now: float) -> bool:
        """Close the connection that can be spared most; False if none can."""
        if not self._spare and now - self._searched_at >= SEARCH_EVERY_S:
            self._searched_at = now
            ranked = [
                (rank, connection)
                for listener in self._listeners
                for connection in listener.connections
                if (rank := connection.spare_rank(now)) is not None
            ]
            self._spare.extend(connection for _, connection in sorted(ranked, key=lambda one: one[0]))
        while self._spare:
            connection = self._spare.popleft()
            if connection.spare_rank(now) is not None:
                connection.runtime.ledger.refused["made_room"] += 1
                connection.make_room()
                return True
        return False


class ListenerAdmission:
    """What one listener takes."""

    def __init__(self, node: NodeAdmission, key: str, config: Listener) -> None:
        self._node = node
        self._share = share = node.share
        self._key = key
        self._connections_at = share.place(key, ListenerField.CONNECTIONS)
        self._accepted_at = share.place(key, ListenerField.ACCEPTED)
        self._handshakes_at = share.place(key, ListenerField.HANDSHAKES)
        self._half_open: OrderedDict[ClientConnection, None] = OrderedDict()
        """Handshakes in progress, the oldest first."""
        self.configure(config)

    def configure(self, config: Listener) -> None:
        """Take over a changed configuration; what is counted stays."""
        limits = config.limits
        self._limits: Limits = limits
        access = AccessList(config.access.allow, config.access.deny)
        self._access = access if access else None
        self._accept_rate = self._rate("accept", limits.accept_rate)
        self._source_accept_rate = self._rate("accept source", limits.accept_rate_per_source)
        self._handshake_rate = self._rate("handshake", limits.handshake_rate)
        self._source_handshake_rate = self._rate("handshake source", limits.handshake_rate_per_source)
        self.limits_handshakes = bool(self._handshake_rate or self._source_handshake_rate)
        """Whether `handshake_refusal` has anything to say."""

    def _rate(self, name: str, cap: RateCap | None) -> NodeRate | None:
        return NodeRate(self._share, f"{name} {self._key}", cap) if cap is not None else None

    # --- a connection's way in ---

    def refusal(self, now: float) -> str:
        """Tell why a connection is not taken, whoever it is from, or nothing."""
        reason = self._node.refusal(now)
        if reason:
            return reason
        if self._share.total(self._connections_at) >= self._limits.connections:
            return "connections"
        if self._accept_rate is not None and self._accept_rate.wait(now):
            return "accept_rate"
        return ""

    def source_refusal(self, connection: ClientConnection, now: float) -> str:
        """Tell why nothing more is taken from this client, or nothing; called when its address is known."""
        address = connection.client_address.decode("ascii")
        if self._access is not None and not self._access.lets_in(address):
            return "access_denied"
        limit = self._limits.connections_per_source
        if limit is None and self._source_accept_rate is None:
            return ""
        source = self._source(address)
        if self._source_accept_rate is not None and self._source_accept_rate.wait(now, source):
            return "source_accept_rate"
        if limit is not None:
            fingerprint = self._share.fingerprint(self._key.encode(), source)
            if self._share.counts.total(fingerprint) >= limit:
                return "source_connections"
            self._share.counts.add(fingerprint)
            connection.source = fingerprint
        return ""

    def handshake_refusal(self, connection: ClientConnection, now: float) -> str:
        """Tell why this client's handshake is not begun, or nothing; called with its first bytes."""
        rate = self._source_handshake_rate
        if rate is not None and rate.wait(now, self._source(connection.client_address.decode("ascii"))):
            return "source_handshake_rate"
        if self._handshake_rate is not None and self._handshake_rate.wait(now):
            return "handshake_rate"
        return ""

    def _source(self, address: str) -> bytes:
        return source_network(address, self._limits.source_prefix_v4, self._limits.source_prefix_v6)

    # --- what is counted ---

    def entered(self) -> None:
        """Count a connection that is taken."""
        own, node = self._share.own, self._node
        own[self._connections_at] += 1
        own[self._accepted_at] += 1
        own[node.connections_at] += 1
        own[node.accepted_at] += 1
        node.connections += 1

    def left(self, connection: ClientConnection) -> None:
        """Count one that is gone."""
        own, node = self._share.own, self._node
        own[self._connections_at] -= 1
        own[node.connections_at] -= 1
        node.connections -= 1
        self.handshake_ended(connection)
        if connection.source:
            self._share.counts.remove(connection.source)
            connection.source = 0

    def handshake_began(self, connection: ClientConnection) -> ClientConnection | None:
        """Count a handshake; return the one that must make room for it, if there are too many."""
        half_open = self._half_open
        oldest = None
        if half_open and self._share.total(self._handshakes_at) >= self._limits.handshakes:
            oldest = next(iter(half_open))
        half_open[connection] = None
        self._publish_handshakes(1)
        return oldest

    def handshake_ended(self, connection: ClientConnection) -> None:
        """Count one that is over, well or not; more than once is once."""
        if connection in self._half_open:
            del self._half_open[connection]
            self._publish_handshakes(-1)

    def _publish_handshakes(self, change: int) -> None:
        own = self._share.own
        own[self._handshakes_at] += change
        own[self._node.handshakes_at] += change
