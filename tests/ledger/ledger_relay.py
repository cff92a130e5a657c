"""The observer: a TCP relay in front of clb that counts bytes and walks TLS record headers.

It shares nothing with clb: not its process state, not its counters, not its TLS. What it cannot see is where a
TLS 1.3 handshake ends, since its last flights are encrypted; of that the client tells how many records they were
(ledger_client.py), and the relay has their sizes.
"""

from __future__ import annotations

import asyncio
import threading
from typing import cast

from loop_thread import LoopThread


class RecordWalker:
    """Finds the records of one direction of a TLS stream by their five-byte headers."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        """On the wire, header included."""
        self.total = 0
        self.is_tls = True
        self._left = 0
        self._header = b""

    def feed(self, data: bytes) -> None:
        """Count bytes, and records for as long as there are any."""
        self.total += len(data)
        at = 0
        while at < len(data) and self.is_tls:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            taken = min(5 - len(self._header), len(data) - at)
            self._header += data[at : at + taken]
            at += taken
            if len(self._header) == 5:
                self.is_tls = self._header[0] in (20, 21, 22, 23) and self._header[1] == 3
                self._left = int.from_bytes(self._header[3:])
                self.sizes.append(5 + self._left)
                self._header = b""


class _Side(asyncio.Protocol):
    """One of the two sockets; what it reads goes to the other, at the pace that the other takes it."""

    def __init__(self, walker: RecordWalker) -> None:
        self._walker = walker
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self.has_ended = False
        self.is_over = threading.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def _peer(self) -> asyncio.Transport:
        assert self.other is not None
        assert self.other.transport is not None
        return self.other.transport

    def data_received(self, data: bytes) -> None:
        self._walker.feed(data)
        self._peer().write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        assert self.other is not None
        if self._peer().is_closing():
            return False
        if self.other.has_ended:
            self._peer().close()  # What is still to be written gets out first.
            return False
        self._peer().write_eof()
        return True

    def pause_writing(self) -> None:
        self._peer().pause_reading()

    def resume_writing(self) -> None:
        self._peer().resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer().close()
        self.is_over.set()


class Relayed:
    """What was seen of one connection."""

    def __init__(self, client_port: int) -> None:
        self.client_port = client_port
        self.port_to_clb = 0
        """By which clb knows the connection."""
        self.inward = RecordWalker()
        self.outward = RecordWalker()
        self.client_side = _Side(self.inward)
        self.clb_side = _Side(self.outward)
        self.client_side.other, self.clb_side.other = self.clb_side, self.client_side

    def wait_until_over(self) -> None:
        """Wait until both sockets are closed, so that nothing more can be counted."""
        assert self.client_side.is_over.wait(20)
        assert self.clb_side.is_over.wait(20)


class Relay:
    """Relays every connection of one port to one port of clb."""

    def __init__(self, clb_port: int) -> None:
        self._clb_port = clb_port
        self._thread = LoopThread()
        self._seen: dict[int, Relayed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._thread.run(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        return await self._thread.loop.create_server(self._accept, "127.0.0.1", 0)

    def _accept(self) -> asyncio.Protocol:
        return _Gate(self)

    def begin(self, transport: asyncio.Transport) -> None:
        """Dial clb for a client that came; nothing is read from it before that."""
        # Not at once: asyncio before 3.11.3 begins to read behind connection_made, paused or not.
        self._thread.loop.call_soon(transport.pause_reading)
        relayed = Relayed(transport.get_extra_info("peername")[1])
        self._seen[relayed.client_port] = relayed
        transport.set_protocol(relayed.client_side)
        relayed.client_side.connection_made(transport)
        task = self._thread.loop.create_task(self._dial(relayed, transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, relayed: Relayed, transport: asyncio.Transport) -> None:
        to_clb, _ = await self._thread.loop.create_connection(lambda: relayed.clb_side, "127.0.0.1", self._clb_port)
        relayed.port_to_clb = to_clb.get_extra_info("sockname")[1]
        transport.resume_reading()

    def of(self, client_port: int) -> Relayed:
        """What was seen of the client's connection; it has sent or received something by now."""
        return self._seen[client_port]

    def last(self) -> Relayed:
        """The connection that came last."""
        return next(reversed(self._seen.values()))

    def close(self) -> None:
        self._thread.call(self._server.close)
        self._thread.stop()


class _Gate(asyncio.Protocol):
    """Takes the place of the client's side until it is known who came."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._relay.begin(cast(asyncio.Transport, transport))
