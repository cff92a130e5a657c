"""What a kernel says of one of its TCP connections (struct tcp_info of linux/tcp.h)."""

from __future__ import annotations

import select
import socket
import struct

_RECEIVED_OFFSET = 128
_INFO_BYTES = 232


def received_bytes(sock: socket.socket) -> int:
    """Payload that arrived in order, read by the program or not: what the kernel acknowledges (tcpi_bytes_received)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    received: int = struct.unpack_from("Q", info, _RECEIVED_OFFSET)[0]
    return received


def wait_until_still(sock: socket.socket) -> int:
    """Wait until nothing has arrived for longer than Linux may put off an acknowledgement (200 ms at most)."""
    before = -1
    while (now := received_bytes(sock)) != before:
        before = now
        select.select([], [], [], 0.25)
    return now
