"""See that a peer does what the others do, before anything is measured.

Owns:      one look at version, suite, resumption, and the headers that reach the real server.
Elsewhere: the configurations that should make it so (peers/).
Pure:      `faults`; the rest is a client that runs as a process of its own
           (`python -m benchmarks.equivalence`), since OpenSSL reads its configuration once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import socket
import ssl
import sys
from dataclasses import dataclass

from benchmarks.clients import TLS12_SUITE, TLS13_SUITE, request_head
from benchmarks.handshakes import client_context
from benchmarks.material import HOST
from benchmarks.site import REQUEST_HEADERS


@dataclass(frozen=True)
class Seen:
    """What one client saw."""

    version: str
    suite: str
    resumed: bool
    headers: list[str]
    """Names that reached the real server, in lower case."""


def look(port: int) -> Seen:
    """Connect twice, the second time with the first one's session, and ask what arrived."""
    context = client_context()
    _, session = _ask(context, port, None)
    seen, _ = _ask(context, port, session)
    return seen


def faults(seen: Seen, *, version: str, key_type: str) -> list[str]:
    """What is not as it should be, in words."""
    suite = TLS13_SUITE if version == "1.3" else TLS12_SUITE[key_type]
    found = []
    if seen.version != f"TLSv{version}":
        found.append(f"speaks {seen.version}, not TLSv{version}")
    if seen.suite != suite:
        found.append(f"negotiates {seen.suite}, not {suite}")
    if not seen.resumed:
        found.append(f"does not resume TLS {version}")
    missing = [name for name in REQUEST_HEADERS if name.lower() not in seen.headers]
    if missing:
        found.append(f"does not add {', '.join(missing)}")
    return found


def _ask(context: ssl.SSLContext, port: int, session: ssl.SSLSession | None) -> tuple[Seen, ssl.SSLSession | None]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST, session=session) as tls,
    ):
        tls.sendall(request_head("GET", "/headers", {"Connection": "close"}).encode())
        answer = b""
        while data := tls.recv(16_384):
            answer += data
        cipher = tls.cipher()
        names = [line.partition(":")[0].strip().lower() for line in answer.decode("latin-1").split("\r\n")]
        seen = Seen(tls.version() or "", cipher[0] if cipher else "", bool(tls.session_reused), names)
        return seen, tls.session


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.equivalence")
    parser.add_argument("--port", type=int, required=True)
    sys.stdout.write(json.dumps(dataclasses.asdict(look(parser.parse_args().port))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
