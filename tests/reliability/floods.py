"""Clients that mean harm, in a process of their own: floods.py KIND PORT COUNT.

Keeps COUNT connections of one kind at work until its input ends; one that is cut off is made anew. Prints `at work`
when all have been made once, and at its end one line of JSON: how many were made and how many were cut off.

half_open    connects and says nothing             slowloris   a head that never ends, a field each second
slow_body    a body of one byte a second           slow_read   takes an answer of 1 GiB, one byte a second
never_read   asks for 1 GiB and takes nothing      idle        asks once and stays
not_found    one request after another that no rule takes
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

HOST = b"Host: shop.example.com\r\n"
BIG = b"GET /bytes/1073741824 HTTP/1.1\r\n" + HOST + b"\r\n"
STEP_S = 1.0
CONNECTS_A_TURN = 100
"""So that a listener's backlog is not what is tested."""


@dataclass
class Kind:
    """What one kind of client does."""

    first: bytes = b""
    """Sent at once."""
    each_second: Callable[[socket.socket], object] = lambda _: None
    again: bytes = b""
    """Sent whenever an answer came."""
    receive_buffer: int = 0
    """If there is one, what comes is left where it is, but for what `each_second` takes."""


KINDS = {
    "half_open": Kind(),
    "slowloris": Kind(b"GET / HTTP/1.1\r\n" + HOST, lambda sock: sock.send(b"X-A: b\r\n")),
    "slow_body": Kind(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n", lambda sock: sock.send(b"x")),
    "slow_read": Kind(BIG, lambda sock: sock.recv(1), receive_buffer=4096),
    "never_read": Kind(BIG, receive_buffer=4096),
    "idle": Kind(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "not_found": Kind(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", again=b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"),
}


@dataclass
class Flood:
    """Connections of one kind."""

    kind: Kind
    port: int
    count: int
    made: int = 0
    cut: int = 0
    live: dict[socket.socket, float] = field(default_factory=dict)
    """With the time of each one's next step."""
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> None:
        """Attack until the input ends."""
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        is_told = False
        while True:
            for _ in range(min(CONNECTS_A_TURN, self.count - len(self.live))):
                self._connect()
            if not is_told and self.made >= self.count:
                is_told = True
                print("at work", flush=True)
            for key, _ in self.selector.select(0.02):
                if key.fileobj is sys.stdin:
                    return
                self._take(key.fileobj)  # type: ignore[arg-type]
            self._step()

    def _connect(self) -> None:
        sock = socket.socket()
        if self.kind.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.kind.receive_buffer)
        sock.settimeout(5)
        try:
            sock.connect(("127.0.0.1", self.port))
            sock.sendall(self.kind.first)
        except OSError:
            sock.close()
            self.made += 1
            self.cut += 1
            return
        sock.setblocking(False)
        self.made += 1
        self.live[sock] = time.monotonic() + STEP_S
        if not self.kind.receive_buffer:
            self.selector.register(sock, selectors.EVENT_READ)

    def _take(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(sock)
        elif self.kind.again:
            self._try(sock, lambda: sock.send(self.kind.again))

    def _step(self) -> None:
        now = time.monotonic()
        for sock in [sock for sock, at in self.live.items() if at <= now]:
            self.live[sock] = now + STEP_S
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # How who reads nothing learns that he was cut.
                self._lose(sock)
            else:
                self._try(sock, lambda sock=sock: self.kind.each_second(sock))  # type: ignore[misc]

    def _try(self, sock: socket.socket, step: Callable[[], object]) -> None:
        try:
            step()
        except BlockingIOError:
            return
        except OSError:
            self._lose(sock)

    def _lose(self, sock: socket.socket) -> None:
        if self.live.pop(sock, None) is not None:
            self.cut += 1
            if not self.kind.receive_buffer:
                self.selector.unregister(sock)
            sock.close()


def main(kind: str, port: int, count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = Flood(KINDS[kind], port, count)
    flood.run()
    print(json.dumps({"made": flood.made, "cut": flood.cut}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
