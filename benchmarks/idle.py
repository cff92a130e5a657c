"""Load that only stays: many TLS connections, one request each, then silence.

Owns:      the client; it runs as a process of its own (`python -m benchmarks.idle`) and holds the
           connections until its standard input ends.
Elsewhere: reading the proxy's memory meanwhile (window.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import socket
import ssl
import sys
import time

from benchmarks.clients import request_head
from benchmarks.handshakes import TIMEOUT_S, client_context
from benchmarks.load import Load
from benchmarks.material import HOST


def open_one(context: ssl.SSLContext, port: int, request: bytes) -> ssl.SSLSocket:
    """One connection that has been answered once and is kept alive."""
    tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S), server_hostname=HOST)
    tls.sendall(request)
    answer = tls.recv(16_384)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"answered {answer[:100]!r}")
    return tls


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.idle")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    context = client_context()
    request = request_head("GET", "/small/1").encode()
    started = time.perf_counter()
    held, errors = [], 0
    for _ in range(options.count):
        try:
            held.append(open_one(context, options.port, request))
        except OSError:
            errors += 1
    load = Load(len(held), time.perf_counter() - started, errors, 0, 0)
    sys.stdout.write(json.dumps(dataclasses.asdict(load)) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
