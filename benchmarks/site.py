"""What every peer is told to serve, and what a peer answers with: a command.

Owns:      the words that the four configurations have in common, so that they cannot drift apart.
Elsewhere: each peer's own spelling of them (peers/); the real server behind (realserver.py).
Pure:      data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.material import KeyPair

TLS12_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""What all four offer on TLS 1.2. Clients offer one of them (clients.py), so that all use the same."""

REQUEST_HEADERS = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Real-IP",
    "X-Client-Proto",
    "X-Client-Proto-Ver",
    "X-Stgw-Time",
    "X-Request-ID",
)
"""What each peer adds to a request; checked at the real server before anything is measured."""

UPSTREAM_IDLE_CONNECTIONS = 64
KEEPALIVE_REQUESTS = 10_000
BODY_BYTES = 60 << 20
CONNECTIONS = 20_000


@dataclass(frozen=True)
class Site:
    """One peer's share of the run: its ports, its directory, and what lies behind it."""

    directory: Path
    ports: Mapping[str, int]
    """By key type, `ecdsa` and `rsa`."""
    upstream_port: int
    key_pairs: Mapping[str, KeyPair]
    connections: int
    """How many the descriptor limit allows, `CONNECTIONS` at most."""

    @property
    def access_log(self) -> Path:
        return self.directory / "access.log"


@dataclass(frozen=True)
class Launch:
    """How a peer is started once its configuration is written."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    logs_to_stdout: bool = False
    """Its standard output is the access log."""
