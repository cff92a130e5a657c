"""Load of new connections: a handshake and one request each, full or resumed.

Owns:      the client; it runs as a process of its own (`python -m benchmarks.handshakes`), pinned beside wrk.
Elsewhere: version, suite and group, which come from OPENSSL_CONF (clients.py).

wrk is not used for this: it clears and reuses one TLS object per connection, and with it the session, so
that after the first round its handshakes are no full ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import socket
import ssl
import sys
import threading
import time

from benchmarks.clients import TLS12_SUITE, request_head
from benchmarks.load import Load
from benchmarks.material import HOST

TIMEOUT_S = 10.0


class Client:
    """Opens connections one after the other until the deadline."""

    def __init__(self, context: ssl.SSLContext, port: int, *, resume: bool) -> None:
        self.latencies_us: list[int] = []
        self.resumed = 0
        self.errors = 0
        self._context = context
        self._port = port
        self._resume = resume
        self._session: ssl.SSLSession | None = None
        self._request = request_head("GET", "/small/1", {"Connection": "close"}).encode()

    def run(self, deadline: float) -> None:
        if self._resume:
            self._exchange()  # a full handshake, uncounted, to get the first ticket
        while time.perf_counter() < deadline:
            started = time.perf_counter()
            try:
                self.resumed += self._exchange()
            except OSError:
                self.errors += 1
                continue
            self.latencies_us.append(round((time.perf_counter() - started) * 1e6))

    def _exchange(self) -> bool:
        with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = self._session if self._resume else None
            with self._context.wrap_socket(plain, server_hostname=HOST, session=session) as tls:
                tls.sendall(self._request)
                answer = b""
                while data := tls.recv(16_384):
                    answer += data
                if not answer.startswith(b"HTTP/1.1 200 "):
                    raise ConnectionError(f"answered {answer[:100]!r}")
                # TLS 1.3 tickets come behind the handshake, so the session is only complete now.
                self._session = tls.session
                return bool(tls.session_reused)


def client_context() -> ssl.SSLContext:
    """A context that trusts anything: checking the certificate would only slow the client down."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Python sets a cipher string of its own over the one of OPENSSL_CONF; TLS 1.3 it leaves alone.
    context.set_ciphers(":".join(TLS12_SUITE.values()))
    return context


def run(port: int, seconds: float, threads: int, *, resume: bool) -> Load:
    """Run `threads` clients for some seconds."""
    context = client_context()
    started = time.perf_counter()
    clients = [Client(context, port, resume=resume) for _ in range(threads)]
    workers = [threading.Thread(target=client.run, args=(started + seconds,)) for client in clients]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    latencies = sorted(latency for client in clients for latency in client.latencies_us)
    return Load(
        units=len(latencies) + (threads if resume else 0),
        seconds=time.perf_counter() - started,
        errors=sum(client.errors for client in clients),
        p50_us=percentile(latencies, 0.50),
        p99_us=percentile(latencies, 0.99),
        resumed=sum(client.resumed for client in clients),
    )


def percentile(ordered: list[int], share: float) -> int:
    """The smallest value that this share of the ordered values does not exceed; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.handshakes")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    load = run(options.port, options.seconds, options.threads, resume=options.resume)
    sys.stdout.write(json.dumps(dataclasses.asdict(load)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
