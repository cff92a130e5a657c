"""Clients that send or take one byte a second: slow_clients.py PORT COUNT. Ends at the end of its input.

A third of them sends a head, a third a body, and a third reads an answer of 10 MiB.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys

from idle_clients import Idle

HEAD = b"GET /bytes/5 HTTP/1.1\r\nHost: a.test\r\nX-Long: " + b"a" * 10_000 + b"\r\n\r\n"
BODY_HEAD = b"POST /echo-size HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000\r\n\r\n"
DOWNLOAD = b"GET /bytes/10485760 HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Slow:
    """One of them."""

    def __init__(self, number: int, port: int, context: ssl.SSLContext) -> None:
        self._connection = Idle(port, context)
        self._kind = number % 3
        self._sent = 0
        if self._kind == 1:
            self._connection.tell(BODY_HEAD)
        elif self._kind == 2:
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self._connection.tell(DOWNLOAD)

    def move(self) -> None:
        """Send one byte, or take one."""
        if self._kind == 2:
            self._connection.sock.recv(1)
            return
        self._connection.tell(HEAD[self._sent : self._sent + 1] if self._kind == 0 else b"a")
        self._sent += 1


def main(port: int, count: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    clients = [Slow(number, port, context) for number in range(count)]
    print("at work", flush=True)
    at = 0
    # Evenly over the second; a line on standard input, or its end, is the end.
    while not select.select([sys.stdin], [], [], 1 / count)[0]:
        clients[at].move()
        at = (at + 1) % count


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
