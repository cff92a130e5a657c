"""Management on its two sockets: the app, the door before each, TLS of the address, and the records of it all.

Owns:      putting them together, following the configuration, renewing the node's own certificate.
Elsewhere: serving a socket (admin_server.py); who may do what (control/); the process (control_process.py).
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from datetime import UTC, datetime
from typing import Final

from clb.certificates.self_made import names_for
from clb.config.models import Admin
from clb.control.app import create_app
from clb.control.doors import AddressDoor, SocketDoor
from clb.control.failed_logins import FailureLimit
from clb.control.guard import Guard
from clb.control.hosts import KnownHosts
from clb.control.node import Node
from clb.control.tokens import TokenBook
from clb.observe.metrics import build_exposition
from clb.service.admin_identity import configured, ensure
from clb.service.admin_server import AdminServer, admin_context, renew_identity
from clb.service.notifying import Notifying
from clb.service.starts import ControlStart
from clb.tls.contexts import Identity

_RECORDS_S: Final = 1.0
_RENEWAL_S: Final = 3600.0


class Management:
    """One in the control process."""

    def __init__(self, node: Node, start: ControlStart, identity: Identity | None) -> None:
        self._node = node
        self._start = start
        self._configured = identity
        self._context: ssl.SSLContext | None = None
        self._renewal_due = 0.0
        self._notifying = Notifying(node, start.state_dir)
        self.book = TokenBook(lambda: node.writer.inventory.tokens if node.writer is not None else {}, self._now)
        self._choose_certificate()
        self._door = AddressDoor(
            self.book,
            self._known_hosts(),
            FailureLimit(time.monotonic),
            node.trail.refusals,
            metrics_open=self._admin.metrics_open,
        )
        self._servers = self._make_servers()

    async def start(self) -> None:
        """Serve."""
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        """End it, and keep the last records if the store takes them."""
        for server in self._servers:
            await server.stop()
        self._node.trail.gather_refusals(self._now(), at_once=True)
        await self._node.trail.flush(self._node.writer)

    def follow(self, identity: Identity | None) -> None:
        """Another configuration is in service, perhaps with another certificate."""
        if identity is not None:
            self._configured = identity
        self._choose_certificate()
        self._notifying.follow()
        self._door.hosts = self._known_hosts()
        self._door.metrics_open = self._admin.metrics_open

    async def look_after(self) -> None:
        """Bring records into the store, renew the certificate and tell of what needs a hand, until cancelled."""
        await asyncio.gather(self._keep_records(), self._notifying.run())

    async def _keep_records(self) -> None:
        while True:
            self._node.trail.gather_refusals(self._now())
            await self._node.trail.flush(self._node.writer)
            if time.monotonic() >= self._renewal_due:
                self._choose_certificate()
            await asyncio.sleep(_RECORDS_S)

    # --- making things ---

    @property
    def _admin(self) -> Admin:
        return self._node.outline.config.admin

    def _choose_certificate(self) -> None:
        """Show the certificate that is right now: the configured one, or the node's own."""
        self._renewal_due = time.monotonic() + _RENEWAL_S
        if self._admin.danger_plain_http:
            return
        if self._configured is not None:
            certificate = configured(self._configured)
        else:
            certificate = ensure(self._start.state_dir, self._names(), self._now())
        if self._context is None:
            self._context = admin_context(certificate.identity)
        elif certificate.facts != self._node.admin_tls:
            renew_identity(self._context, certificate.identity)
        self._node.admin_tls = certificate.facts

    def _names(self) -> tuple[str, ...]:
        node, admin = self._node.outline.config.node, self._admin
        here = (node.name, os.uname().nodename, "localhost", "127.0.0.1", "::1")
        return names_for(*here, str(admin.address), *admin.hosts)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._node.wall(), UTC)

    def _make_servers(self) -> list[AdminServer]:
        app = create_app(self._node, build_exposition(self._node), self.book)
        users = frozenset({0, os.geteuid()})
        socket_door = SocketDoor(users, self._node.trail.refusals)
        return [
            AdminServer(Guard(app, socket_door), self._start.control_socket),
            AdminServer(Guard(app, self._door), self._start.admin_socket, self._context),
        ]

    def _known_hosts(self) -> KnownHosts:
        config = self._node.outline.config
        names = self._node.admin_tls.names if self._node.admin_tls is not None else ()
        return KnownHosts([config.node.name, os.uname().nodename, *config.admin.hosts, *names])
