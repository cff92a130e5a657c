"""Hold many TLS connections that say nothing, in a process of its own: idle_clients.py PORT COUNT.

Prints `held` when all are up; then one line for each line on standard input: how many of a hundred, spread over
all, still get an answer. Ends at the end of its input.
"""

from __future__ import annotations

import resource
import socket
import ssl
import sys

REQUEST = b"GET /bytes/5 HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Idle:
    """One connection; the context and both BIOs are what a client needs to speak again."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="a.test")
        self._until_done(self.tls.do_handshake)

    def _until_done(self, step: object) -> object:
        while True:
            try:
                result = step()  # type: ignore[operator]
            except ssl.SSLWantReadError:
                self._send()
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionResetError from None
                self.incoming.write(data)
            else:
                self._send()
                return result

    def _send(self) -> None:
        if data := self.outgoing.read():
            self.sock.sendall(data)

    def tell(self, data: bytes) -> None:
        """Send HTTP bytes."""
        self.tls.write(data)
        self._send()

    def ask(self) -> bool:
        """Tell whether a request is answered."""
        try:
            self.tell(REQUEST)
            return self._until_done(lambda: self.tls.read(4096)).startswith(b"HTTP/1.1 200")  # type: ignore[attr-defined]
        except OSError:
            return False


def main(port: int, count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connections = [Idle(port, context) for _ in range(count)]
    print("held", flush=True)
    for _ in sys.stdin:
        print(sum(each.ask() for each in connections[:: max(1, count // 100)]), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
