"""One listener at work: what its connections share, what is counted for it, its sockets.

Owns:      admission, ids, the listener's ledger, the words for what goes wrong before there is a request; changing
           what all connections share under them.
Elsewhere: one connection (downstream.py); rules and their targets (rule.py); accepting (acceptor.py); time (sweep.py).
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from clb.config.models import Limits, Listener, Timeouts
from clb.errors import ClbError
from clb.http1.guard import DesyncGuard
from clb.http1.repeated import RepeatedHeads
from clb.http1.request import RequestHead
from clb.metering.cells import listener_key
from clb.metering.counters import Traffic
from clb.metering.ledgers import ListenerLedger
from clb.proxy.acceptor import Acceptor
from clb.proxy.admission import ListenerAdmission, NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.connection import ClientConnection
from clb.proxy.downstream import Downstream
from clb.proxy.forwarded import contains
from clb.proxy.pace import check_pace
from clb.proxy.replies import error_reply
from clb.proxy.request_gate import RequestGate
from clb.proxy.rule import RuleRuntime
from clb.proxy.tcp import round_trip_us
from clb.routing.router import Router
from clb.tls.contexts import ListenerContexts

if TYPE_CHECKING:
    from clb.proxy.exchange import Exchange

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class AccessLogger(Protocol):
    """Where finished exchanges go."""

    def record(self, record: Exchange) -> None:
        """Take one exchange."""


class EventLog(Protocol):
    """Where events that a stranger can cause go, limited in rate by reason."""

    def log(self, level: int, reason: str, message: str, **values: object) -> None:
        """Take one event."""


class RequestIds:
    """Ids that are unique over processes and restarts: a random half and a count."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8).encode("ascii")
        self._count = secrets.randbits(32)

    def next(self) -> bytes:
        """Return the next id, 32 hexadecimal digits."""
        self._count += 1
        return b"%b%016x" % (self._prefix, self._count)


@dataclass(frozen=True, slots=True)
class ListenerParts:
    """What a listener is made of that follows from the configuration; another configuration, other parts."""

    config: Listener
    router: Router[RuleRuntime]
    rules: Sequence[RuleRuntime]
    contexts: ListenerContexts | None
    """Certificates may be replaced in these. None on an http listener."""
    gate: RequestGate | None
    """What stands before its requests, if anything does."""
    times_exchanges: bool
    """Whether the sweep has to look at exchanges under way."""


class ListenerRuntime:
    """What all connections of one listener share."""

    def __init__(
        self,
        load_balancer: str,
        parts: ListenerParts,
        clock: Clock,
        request_ids: RequestIds,
        access_log: AccessLogger,
        events: EventLog,
        node: NodeAdmission,
    ) -> None:
        self.load_balancer = load_balancer
        config = parts.config
        self.scheme = config.protocol.encode("ascii")
        self.clock = clock
        self.access_log = access_log
        self.ledger = ListenerLedger()
        self.is_draining = False
        self.connections: set[ClientConnection] = set()
        self.in_flight = 0
        """Connections with a request on them, as of the last sweep."""
        self.acceptors: dict[int, Acceptor] = {}
        """By worker slot."""
        self._given_up: list[Acceptor] = []
        """Those that still accept whoever was let in."""
        self.next_request_id = request_ids.next
        self._events = events
        self._serials: Iterator[int] = iter(range(1, 1 << 62))
        self.guard = DesyncGuard(config.desync_guard, config.limits.header_bytes)
        self.admission = ListenerAdmission(node, listener_key(load_balancer, config.name), config)
        self._take(parts)
        node.register(self)

    def _take(self, parts: ListenerParts) -> None:
        """Go by these; at the start and at each change."""
        config = parts.config
        self.config = config
        self.timeouts: Timeouts = config.timeouts
        self.limits: Limits = config.limits
        self.router = parts.router
        self.rules = parts.rules
        self.contexts = parts.contexts
        self.tls_context = parts.contexts.base if parts.contexts is not None else None
        """Connections are made from it."""
        self.verifies_clients = config.ssl_mode == "mutual"
        self.gate = parts.gate
        self.times_exchanges = parts.times_exchanges
        self.repeated_heads = RepeatedHeads()
        counted, self.guard = self.guard, DesyncGuard(config.desync_guard, config.limits.header_bytes)
        self.guard.checked, self.guard.disagreements = counted.checked, counted.disagreements
        self.heads_to_guard = self.guard.interval
        """How many heads from now the desync guard reads one as well; 0 = never."""

    @property
    def requests_on_a_connection(self) -> int:
        """How many requests a connection may carry; 0 = the answer that is due is the last."""
        if self.is_draining:
            return 0
        return self.limits.keepalive_requests if self.timeouts.keepalive else 1

    @property
    def name(self) -> str:
        """Load balancer and listener, for logs."""
        return f"{self.load_balancer}/{self.config.name}"

    # --- sockets ---

    async def accept_on(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, slot: int = 0) -> int:
        """Accept on a socket that is bound and listens; return its port."""
        acceptor = Acceptor(sock)
        await acceptor.start(loop, lambda: Downstream(self))
        self.acceptors[slot] = acceptor
        return acceptor.port

    def stop_accepting(self, slots: Iterable[int] | None = None, *, refuses: bool) -> None:
        """Give sockets up (all of them by default), `refuses` says whether in all processes."""
        for slot in tuple(self.acceptors) if slots is None else slots:
            if (acceptor := self.acceptors.pop(slot, None)) is not None:
                acceptor.retire(refuses=refuses)
                self._given_up = [*(each for each in self._given_up if each.is_open), acceptor]

    @property
    def has_open_sockets(self) -> bool:
        """Whether somebody may still be accepted."""
        return bool(self.acceptors) or self.gives_up_sockets

    @property
    def gives_up_sockets(self) -> bool:
        """Whether this process still has a socket that it gave up."""
        return any(acceptor.is_open for acceptor in self._given_up)

    # --- changes ---

    def update(self, parts: ListenerParts) -> None:
        """Go by another configuration from the next request on; requests that run go on by what they read."""
        old, old_requests, old_base = self.config, self.requests_on_a_connection, self.tls_context
        self._take(parts)
        config = parts.config
        self.admission.configure(config)
        if old_base is not self.tls_context:
            # Admitted by other checks or under another policy: what they ask next is their last request.
            for connection in self.connections:
                connection.last_request = 0
        elif old_requests != self.requests_on_a_connection:
            for connection in self.connections:
                if connection.last_request:
                    connection.last_request = self.requests_on_a_connection
        if old.timeouts != config.timeouts or old.limits != config.limits:
            for connection in self.connections:
                connection.reconfigured(old.timeouts, config.timeouts)

    def drain(self) -> None:
        """Let connections end: idle ones soon, the others behind their current request."""
        self.is_draining = True
        for connection in self.connections:
            connection.last_request = 0

    def cut(self) -> None:
        """End what still runs on a listener that is gone; upgraded connections in order."""
        for connection in tuple(self.connections):
            exchange = connection.exchange
            if exchange is not None and exchange.upgraded:
                exchange.answer_complete(is_reusable=False)
            elif not connection.is_ending:
                connection.abort()

    def forget(self) -> None:
        """Let go of what refers back to the listener, when it is gone."""
        if self.tls_context is not None:
            self.tls_context.sni_callback = None

    def log_to(self, access_log: AccessLogger) -> None:
        """Write to another access log from now on."""
        self.access_log = access_log
        for connection in self.connections:
            connection.log_prefix = None  # Made in the form of the other.

    # --- time ---

    def sweep(self, now: float) -> None:
        """Act on every deadline that has passed."""
        in_flight = 0
        for connection in tuple(self.connections):
            exchange = connection.exchange
            if connection.deadline <= now:
                connection.deadline_passed()
            elif exchange is not None:
                in_flight += 1
                connection.store()
                check_pace(connection, self.limits, now)
                if self.times_exchanges:
                    exchange.look_at_time(now)
            elif connection.last_request:
                connection.rest(now)
            else:
                connection.drain(now)
        self.in_flight = in_flight

    def close(self) -> None:
        """End every connection at once."""
        for acceptor in (*self.acceptors.values(), *self._given_up):
            acceptor.close()
        self.acceptors.clear()
        for connection in tuple(self.connections):
            connection.abort()

    # --- a connection's life ---

    def next_serial(self) -> int:
        """Number a connection."""
        return next(self._serials)

    def admit(self, connection: ClientConnection) -> bool:
        """Take a new connection in, or say no when there is too much already."""
        reason = self.admission.refusal(self.clock.now())
        if reason:
            self._connection_refused(connection, reason)
            return False
        self.connections.add(connection)
        # Only now: since it was made the listener may have begun to drain, and told all that it had then.
        connection.last_request = self.requests_on_a_connection
        self.ledger.opened(connection)
        self.admission.entered()
        return True

    def admit_source(self, connection: ClientConnection) -> bool:
        """Look at whom a connection is from, as soon as that is known; its handshake, if any, begins."""
        reason = self.admission.source_refusal(connection, self.clock.now())
        if reason:
            self._connection_refused(connection, reason)
            return False
        if self.tls_context is not None:
            oldest = self.admission.handshake_began(connection)
            if oldest is not None:
                self._connection_refused(oldest, "handshakes")
                oldest.abort()
        return True

    def admit_handshake(self, connection: ClientConnection) -> bool:
        """Let a client begin its handshake, or say no when there are too many."""
        if not self.admission.limits_handshakes:
            return True
        reason = self.admission.handshake_refusal(connection, self.clock.now())
        if reason:
            self._connection_refused(connection, reason)
        return not reason

    def _connection_refused(self, connection: ClientConnection, reason: str) -> None:
        self.ledger.refused[reason] += 1
        client = connection.client_address.decode()
        self._events.log(logging.WARNING, reason, "connection refused", listener=self.name, client=client)

    def noted(self, level: int, reason: str, client: str) -> None:
        """Count and tell of something that a limit would refuse, if it were not only to be logged."""
        self.ledger.refused[reason] += 1
        self._events.log(level, reason, "would be refused", listener=self.name, client=client)

    def ended(self, connection: ClientConnection, traffic: Traffic) -> None:
        """Close a connection's account."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.admission.left(connection)
        self.ledger.ended(connection, traffic)
        if traffic.residual_in or traffic.residual_out:
            self._events.log(
                logging.ERROR,
                "residual",
                "bytes of a connection do not add up",
                listener=self.name,
                connection=connection.serial,
                residual_in=traffic.residual_in,
                residual_out=traffic.residual_out,
            )

    def established(self, connection: ClientConnection) -> None:
        """Count a handshake that is done."""
        self.ledger.established(resumed=connection.resumed)
        self.admission.handshake_ended(connection)
        connection.rtt_us = round_trip_us(connection.transport)

    def handshake_failed(self, connection: ClientConnection, reason: str, error: Exception | None) -> None:
        """Count and tell of a handshake that is not."""
        self.ledger.handshakes_failed[reason] += 1
        self.admission.handshake_ended(connection)
        self._events.log(
            logging.INFO,
            reason,
            "handshake failed",
            listener=self.name,
            client=f"{connection.client_address.decode()}:{connection.client_port}",
            detail=str(error) if error is not None else "",
        )

    def refused(self, error: ClbError) -> None:
        """Count what clb turned away or could not serve."""
        self.ledger.refused[error.reason] += 1

    def record_broken(self, connection: ClientConnection, error: ssl.SSLError) -> None:
        """Count a record that broke an established session, or the client's alert that ended it."""
        self.ledger.refused["broken_record"] += 1
        self._events.log(
            logging.INFO,
            "broken_record",
            "TLS session ended",
            listener=self.name,
            detail=error.reason or str(error),
        )

    def log_refusal(self, connection: ClientConnection, error: ClbError, status: int, request_id: bytes) -> None:
        """Tell of a request that was refused before it became an exchange."""
        self._events.log(
            logging.INFO,
            error.reason,
            "request refused",
            listener=self.name,
            client=f"{connection.client_address.decode()}:{connection.client_port}",
            status=status,
            request_id=request_id,
            detail=str(error),
        )

    # --- requests ---

    def guard_head(self, head: bytes, request: RequestHead) -> None:
        """Let the desync guard read a head whose turn it is.

        Raises:
            AmbiguousRequest: both readings differ and the listener enforces.
        """
        self.heads_to_guard = self.guard.interval
        disagreements = self.guard.disagreements
        try:
            self.guard.check(head, request)
        finally:
            if self.guard.disagreements != disagreements:
                self._events.log(logging.WARNING, "desync", "h11 reads a request differently", listener=self.name)

    def is_trusted(self, address: bytes) -> bool:
        """Tell whether an address is one of the listener's trusted proxies."""
        return contains(self.config.trusted_proxies, address.decode("ascii"))

    def is_request_id(self, text: bytes) -> bool:
        """Tell whether a supplied id is fit to be logged and passed on."""
        return _REQUEST_ID.fullmatch(text) is not None

    def plain_http_reply(self) -> bytes:
        """Answer a client that spoke HTTP to the TLS port, in HTTP."""
        return error_reply(
            400,
            self.next_request_id(),
            b"",
            method=b"GET",
            keep_alive=False,
            date=self.clock.date(self.clock.now()),
        )
