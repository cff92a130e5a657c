"""One listener at work: what its connections share, what is counted for it, its socket.

Owns:      admission, ids, the listener's ledger, the words for what goes wrong before there is a request.
Elsewhere: one connection (downstream.py); rules and their targets (rule.py); time (sweep.py).
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from clb.config.models import Limits, Listener, Timeouts
from clb.errors import ClbError
from clb.http1.guard import DesyncGuard
from clb.http1.repeated import RepeatedHeads
from clb.http1.request import RequestHead
from clb.metering.cells import listener_key
from clb.metering.counters import ListenerLedger, RuleLedger, Traffic
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

BACKLOG = 4096
"""Connections that the kernel holds ready while the loop is busy."""

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


class ListenerRuntime:
    """What all connections of one listener share."""

    def __init__(
        self,
        load_balancer: str,
        config: Listener,
        router: Router[RuleRuntime],
        rules: Sequence[RuleRuntime],
        contexts: ListenerContexts | None,
        clock: Clock,
        request_ids: RequestIds,
        access_log: AccessLogger,
        events: EventLog,
        node: NodeAdmission,
        gate: RequestGate | None = None,
    ) -> None:
        self.load_balancer = load_balancer
        self.config = config
        self.timeouts: Timeouts = config.timeouts
        self.limits: Limits = config.limits
        self.router = router
        self.rules = rules
        self.contexts = contexts
        """Certificates may be replaced in these; connections are made from `tls_context`. None on an http listener."""
        self.tls_context = contexts.base if contexts is not None else None
        self.scheme = config.protocol.encode("ascii")
        self.verifies_clients = config.ssl_mode == "mutual"
        self.clock = clock
        self.access_log = access_log
        self.ledger = ListenerLedger()
        self.guard = DesyncGuard(config.desync_guard, config.limits.header_bytes)
        self.repeated_heads = RepeatedHeads()
        self.is_draining = False
        self.connections: set[ClientConnection] = set()
        self.next_request_id = request_ids.next
        self.admission = ListenerAdmission(node, listener_key(load_balancer, config.name), config)
        self.gate = gate
        """What stands before its requests, if anything does."""
        node.register(self)
        self._events = events
        self._serials: Iterator[int] = iter(range(1, 1 << 62))
        self._server: asyncio.Server | None = None
        self.heads_to_guard = self.guard.interval
        """How many heads from now the desync guard reads one as well; 0 = never."""

    @property
    def name(self) -> str:
        """Load balancer and listener, for logs."""
        return f"{self.load_balancer}/{self.config.name}"

    # --- the socket ---

    async def listen(self, loop: asyncio.AbstractEventLoop) -> int:
        """Bind and accept; return the port, which the system chose if it was 0.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = _bind(self.config.address, self.config.port)
        self._server = await loop.create_server(lambda: Downstream(self), sock=sock, backlog=BACKLOG)
        port: int = sock.getsockname()[1]
        return port

    def stop_accepting(self) -> None:
        """Close the socket and let idle connections go; the others end behind their current request."""
        self.is_draining = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self.connections):
            connection.drain()

    def sweep(self, now: float) -> None:
        """Act on every deadline that has passed."""
        for connection in tuple(self.connections):
            if connection.deadline <= now:
                connection.deadline_passed()
            elif connection.exchange is None:
                connection.rest(now)
            else:
                check_pace(connection, self.limits, now)
            if self.is_draining:
                connection.drain()  # An answer that had begun before could not say that it is the last.
        for rule in self.rules:
            for candidate in rule.candidates:
                candidate.payload.sweep(now)

    def close(self) -> None:
        """End every connection at once, on both sides."""
        for connection in tuple(self.connections):
            connection.abort()
        for rule in self.rules:
            for candidate in rule.candidates:
                candidate.payload.close()

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
        before = self.ledger.residuals
        self.ledger.ended(connection, traffic)
        if self.ledger.residuals != before:
            self._events.log(
                logging.ERROR,
                "residual",
                "bytes of a connection do not add up",
                listener=self.name,
                connection=connection.serial,
                residual_in=traffic.residual_in,
                residual_out=traffic.residual_out,
            )

    def rule_snapshot(self, rule: RuleRuntime) -> RuleLedger:
        """Return a rule's sums as of now; exchanges that are under way are asked."""
        exchanges = (connection.exchange for connection in self.connections)
        return rule.ledger.snapshot(each for each in exchanges if each is not None and each.rule is rule)

    def established(self, connection: ClientConnection) -> None:
        """Count a handshake that is done."""
        if connection.resumed:
            self.ledger.handshakes_resumed += 1
        else:
            self.ledger.handshakes_full += 1
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


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` takes IPv4 clients too, whatever the system's default is.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
