"""Serve the management app on a socket: uvicorn's HTTP, with bounds on what a stranger may hold.

Owns:      connections at once, time for a head, for a handshake and for an answer; the TLS context of the address.
Elsewhere: who may ask (control/guard.py); what is answered (control/routes.py); binding (sockets.py).
Shell:     imported in the control process only.

Of uvicorn only the protocol is used, on h11: httptools has no bound on a head. Its own server would install signal
handlers and look at the clock ten times a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import struct
from typing import Any, Final

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from clb.control.doors import PEER_UID
from clb.control.guard import Guard
from clb.tls.contexts import Identity
from clb.tls.memory_file import memory_file

MOST_CONNECTIONS: Final = 256
HEAD_BYTES: Final = 32 << 10
HEAD_S: Final = 10.0
HANDSHAKE_S: Final = 10.0
KEEP_ALIVE_S: Final = 75
ANSWER_S: Final = 180.0
"""From a request's head to the last byte of its answer. A reload waits for every worker, and so may a client."""
_GOODBYE_S: Final = 1.0
_UCRED: Final = struct.Struct("3i")
"""Linux' struct ucred: process, user, group."""

# Whatever a stranger sends would give a line each; what fails in the app is logged by the app.
logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def admin_context(identity: Identity) -> ssl.SSLContext:
    """The TLS context of the management address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    renew_identity(context, identity)
    return context


def renew_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Show another certificate from the next handshake on."""
    with memory_file(identity.chain_pem) as chain, memory_file(identity.private_key_pem) as key:
        context.load_cert_chain(chain, key, password="")


class _Protocol(H11Protocol):
    """One connection. At any time it has one deadline."""

    deadline: asyncio.TimerHandle | None = None
    _is_answering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if (user := _peer_user(transport)) is not None:
            self.app_state = {PEER_UID: user}
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._expect_within(HEAD_S)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering:
            return
        if self.conn.their_state is not h11.IDLE:
            self._is_answering = True
            self._expect_within(ANSWER_S)
        elif self.deadline is None:
            self._expect_within(HEAD_S)

    def on_response_complete(self) -> None:
        self._is_answering = False
        self._expect_nothing()  # The server's own timer looks after idle connections.
        if self.transport.get_write_buffer_size():
            self.deadline = self.loop.call_later(ANSWER_S, self._end_unread)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _end_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        # Abort and not close: who does not read would keep the connection for ever.
        self.deadline = self.loop.call_later(seconds, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def _peer_user(transport: asyncio.BaseTransport) -> int | None:
    """Who opened the other end of a Unix socket: the kernel noted it then, whatever became of that process."""
    shown = transport.get_extra_info("socket")
    if shown is None or shown.family != socket.AF_UNIX:
        return None
    # A loop may show a stand-in that has no options.
    with socket.socket(fileno=os.dup(shown.fileno())) as sock:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    user: int = _UCRED.unpack(data)[1]
    return user


class AdminServer:
    """One listening socket at work."""

    def __init__(self, guard: Guard, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self._sock = sock
        self._context = context
        self._state = ServerState()
        self._config = Config(
            guard,
            access_log=False,  # It would show queries; and clb's own log has what changes anything.
            date_header=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            http=_Protocol,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws="none",
        )
        self._config.load()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()

        def protocol() -> _Protocol:
            return _Protocol(self._config, self._state, app_state={}, _loop=loop)

        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {"ssl": self._context, "ssl_handshake_timeout": HANDSHAKE_S}
        self._server = await loop.create_server(protocol, sock=self._sock, backlog=128, **tls)

    async def stop(self) -> None:
        """Accept no more, let answers under way go out for a moment, end the rest."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # Idle ones are gone now.
        if self._state.connections:
            await asyncio.sleep(_GOODBYE_S)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
