"""HTTP for health checks, as a transport of httpx: one connection for each request, and of the answer the head only.

Owns:      dialling, the request's bytes, the bound of the answer's bytes; which faults are this machine's own.
Elsewhere: deadlines and verdicts (probe.py); names (resolver.py).
Shell:     HTTP is h11's. The connection is cut as soon as the head is there, whatever is still to come.

httpx's own transport keeps a pool and looks at every connection of it before and after every request; with a thousand
checks under way that is more work than the checks. See docs/decisions/probe-transport.md.
"""

from __future__ import annotations

import asyncio
import errno

import h11
import httpx

from clb.service.resolver import Resolver

HEAD_LIMIT_BYTES = 64 * 1024
"""Of everything up to the end of the head, interim answers included; the data path's bound for a head."""
_READ_BYTES = 16 * 1024
_OWN_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class OwnFault(Exception):
    """This machine could not make the check: that says nothing of the real server."""


class NotHttp(Exception):
    """What came is no answer; the text is ours, not the stranger's."""


async def dial(resolver: Resolver, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that takes the connection.

    Raises:
        NameUnknown: the host has no address.
        OwnFault: this machine has no descriptor or port left.
        OSError: none of the addresses takes it; the last one's error.
    """
    addresses = await resolver.addresses(host)
    for address in addresses[:-1]:
        try:
            return await _connect(address, port)
        except OSError:
            continue
    return await _connect(addresses[-1], port)


async def _connect(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(address, port, limit=HEAD_LIMIT_BYTES)
    except OSError as error:
        if error.errno in _OWN_ERRNOS:
            raise OwnFault(error.strerror or type(error).__name__) from error
        raise


class ProbeTransport(httpx.AsyncBaseTransport):
    """Sends requests without a body, and answers with status and fields only."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one request.

        Raises:
            NameUnknown, OwnFault, OSError: as of `dial`, or of the connection that was made.
            NotHttp: what came is no answer, none came, or too much.
        """
        reader, writer = await dial(self._resolver, request.url.host, request.url.port or 80)
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
            head = h11.Request(method=request.method, target=_target(request), headers=request.headers.raw)
            writer.write(connection.send(head) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            response = await _head_of_answer(connection, reader)
        except h11.RemoteProtocolError as error:
            raise NotHttp("what came is no HTTP answer") from error
        finally:
            writer.transport.abort()
        return httpx.Response(response.status_code, headers=list(response.headers), request=request)


def _target(request: httpx.Request) -> bytes:
    """Return the path exactly as it is configured: httpx would spell some characters differently."""
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return target


async def _head_of_answer(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    received = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ_BYTES)
            received += len(data)
            if not data:
                raise NotHttp("closed in the middle of an answer" if received else "closed without an answer")
            if received > HEAD_LIMIT_BYTES:
                raise NotHttp(f"no end of the head within {HEAD_LIMIT_BYTES // 1024} KiB")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            return event
        elif not isinstance(event, h11.InformationalResponse):
            raise NotHttp("what came is no HTTP answer")
