"""Clients that ask again and again, and count what they get, whoever is killed meanwhile."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from real_server import OK, WAIT_S
from tls_material import HOST

REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
CLIENTS = 4
"""Of each kind: on https and on http."""
AT_MOST_UNDER_WAY = 2 * CLIENTS
"""Answers that a kill can keep from clients."""


class Visitors:
    """Clients of one listener that ask again and again, and count what they get; one that is cut off comes again."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self.answers = self.received = self.cut = 0
        self._port, self._context = port, context
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError):  # Cut off, or not let in yet by the successor.
                with self._connected() as sock:
                    while not self._stop.is_set():
                        self._ask(sock)
                continue
            with self._lock:
                self.cut += 1

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S) as sock:
            if self._context is None:
                yield sock
            else:
                with self._context.wrap_socket(sock, server_hostname=HOST) as tls:
                    yield tls

    def _ask(self, sock: socket.socket) -> None:
        sock.sendall(REQUEST)
        head, length = b"", None
        while length is None or len(head) < length:
            data = sock.recv(65536)
            if not data:
                raise ConnectionResetError("the end")
            with self._lock:
                self.received += len(data)
            head += data
            if length is None and b"\r\n\r\n" in head:
                length = head.index(b"\r\n\r\n") + 4 + len(OK.partition(b"\r\n\r\n")[2])
        with self._lock:
            self.answers += 1

    def wait_for(self, answers: int) -> None:
        give_up_at, wanted = time.monotonic() + WAIT_S, self.answers + answers
        while self.answers < wanted:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
