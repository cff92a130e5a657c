"""One listening socket of this process: accepting on it, and letting it go so that nobody is turned away.

Owns:      when a process accepts on a socket, and how a socket is given up.
Elsewhere: what becomes of a connection (downstream.py); binding, and who else holds the socket (service/sockets.py).

Closing a listening socket resets the clients that the kernel has let in and nobody has accepted, and there are some
whenever there is load. So a socket that is to go first tells the kernel to let nobody in any more (a filter of four
instructions drops what begins a connection), then accepts whoever was let in or is just shaking hands, then closes.
A client that was not let in repeats its first packet after a second and is refused, as if it had come later.
"""

from __future__ import annotations

import array
import asyncio
import logging
import socket
from collections.abc import Callable
from struct import Struct

BACKLOG = 4096
"""Connections that the kernel holds ready while the loop is busy."""
GRACE_S = 0.25
"""How long a socket that is given up still accepts: a handshake of TCP from the other side of the earth."""

UNSENT_BYTES = 128 * 1024
"""How much that is not on its way yet the kernel takes from us for one client. Left alone it takes 2.6 MiB for a client
that never reads (tried), a hundred of which are more than a worker; what is on its way does not count, so it costs no
throughput. Connections have it from the socket that they were accepted on."""

_TCP_NOTSENT_LOWAT = 25
_SO_ATTACH_FILTER = 26
_INSTRUCTION = Struct("HBBI")
_DROP_SYN = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # Load the byte of flags; a filter sees the TCP header first.
        (0x45, 0, 1, 0x02),  # SYN set: go on; else skip one.
        (0x06, 0, 0, 0),  # Drop.
        (0x06, 0, 0, 0xFFFFFFFF),  # Pass.
    )
)

_logger = logging.getLogger(__name__)


def refuse_new_connections(sock: socket.socket) -> None:
    """Let nobody in any more, in every process that holds the socket; those who were let in wait to be accepted."""
    program = array.array("B", _DROP_SYN)
    address, _ = program.buffer_info()
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, Struct("HxxxxxxP").pack(4, address))
    except OSError as error:  # A kernel without filters, or a sandbox: then the few that come now are reset.
        _logger.debug("no filter on a listening socket: %s", error)


class Acceptor:
    """One socket that this process accepts on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._server: asyncio.Server | None = None
        self._closing: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process has the socket; the loop needs another turn to close it."""
        return self._sock.fileno() >= 0

    @property
    def port(self) -> int:
        """Return the port, which the system may have chosen."""
        port: int = self._sock.getsockname()[1]
        return port

    async def start(self, loop: asyncio.AbstractEventLoop, connection: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept, and make a protocol for each connection."""
        self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._server = await loop.create_server(connection, sock=self._sock, backlog=BACKLOG)

    def retire(self, *, refuses: bool) -> None:
        """Give the socket up in a moment; with `refuses` in every process, since the listener is gone."""
        if self._server is None or self._closing is not None:
            return
        if refuses:
            refuse_new_connections(self._sock)
        self._closing = self._server.get_loop().call_later(GRACE_S, self.close)

    def close(self) -> None:
        """Close this process' descriptor at once."""
        if self._closing is not None:
            self._closing.cancel()
        if self._server is not None:
            self._server.close()  # And the socket with it.
            self._server = None
