"""What the kernel knows of a TCP connection, and how an address is written.

Owns:      TCP_INFO, the reset, what is left to read behind one, how much may wait to be written.
Elsewhere: what is made of the figures (metering/counters.py, the access log).
"""

from __future__ import annotations

import _socket
import asyncio
import struct
from contextlib import suppress
from ipaddress import ip_address
from socket import IPPROTO_TCP, MSG_DONTWAIT, MSG_PEEK, SO_LINGER, SOCK_STREAM, SOL_SOCKET, TCP_INFO

# tcpi_rtt and tcpi_bytes_acked in Linux' struct tcp_info.
_RTT_OFFSET, _ACKED_OFFSET, _TCP_INFO_BYTES = 68, 120, 128
HIGH_WATER_BYTES, LOW_WATER_BYTES = 128 * 1024, 32 * 1024
"""Two reads may wait to be written before the other side is paused. The loop's own marks are 64 KiB and (its default
being a quarter of 64, not of 64 KiB) next to nothing: every read of a long body paused and resumed the other side."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time at all."""


def set_write_marks(transport: asyncio.Transport) -> None:
    """Say how much may wait in a transport before its protocol is told to pause, and when to go on."""
    transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)


def acknowledged_bytes(transport: asyncio.Transport) -> int | None:
    """Return how many bytes of the stream the peer's kernel has acknowledged; None where that is not known."""
    info = _tcp_info(transport)
    return struct.unpack_from("Q", info, _ACKED_OFFSET)[0] if info is not None else None


def round_trip_us(transport: asyncio.Transport) -> int:
    """Return the kernel's round-trip estimate in microseconds; 0 where there is none."""
    info = _tcp_info(transport)
    return struct.unpack_from("I", info, _RTT_OFFSET)[0] if info is not None else 0


def reset_on_close(transport: asyncio.Transport) -> None:
    """Make the kernel drop what it still holds and send a reset when the connection is closed."""
    sock = transport.get_extra_info("socket")
    with suppress(OSError, AttributeError):  # Gone already, or no socket at all (a test's).
        sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)


def read_rest(transport: asyncio.Transport, buffer: memoryview) -> int:
    """Read from a connection that the loop has given up and is about to close; 0 when nothing is left."""
    sock = transport.get_extra_info("socket")
    try:
        raw = _socket.socket(sock.family, SOCK_STREAM, 0, sock.fileno())
    except (OSError, AttributeError):
        return 0
    try:
        return raw.recv_into(buffer)
    except OSError:
        return 0
    finally:
        raw.detach()


def has_something_to_read(transport: asyncio.Transport) -> bool:
    """Tell whether bytes or the end of the stream lie in the kernel, before the loop has come to them."""
    sock = transport.get_extra_info("socket")
    try:
        raw = _socket.socket(sock.family, SOCK_STREAM, 0, sock.fileno())
    except (OSError, AttributeError):
        return False  # No socket at all (a test's).
    try:
        raw.recv(1, MSG_PEEK | MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True  # A reset.
    finally:
        raw.detach()
    return True


def plain_address(address: str) -> bytes:
    """Return an address without a scope, an IPv4-mapped one as IPv4."""
    if ":" not in address:
        return address.encode("ascii")
    ip = ip_address(address.partition("%")[0])
    return str(getattr(ip, "ipv4_mapped", None) or ip).encode("ascii")


def _tcp_info(transport: asyncio.Transport) -> bytes | None:
    sock = transport.get_extra_info("socket")
    try:
        # The loop's own socket object asks the kernel for the family on each call; this one is told.
        raw = _socket.socket(sock.family, SOCK_STREAM, 0, sock.fileno())
    except (OSError, AttributeError):
        return None  # Not a TCP socket (a test's), or gone.
    try:
        info: bytes = raw.getsockopt(IPPROTO_TCP, TCP_INFO, _TCP_INFO_BYTES + 64)
    except OSError:
        return None
    finally:
        raw.detach()
    return info if len(info) >= _TCP_INFO_BYTES else None
