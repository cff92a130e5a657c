"""Exchanges for the tests of the access log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SampleConnection:
    client_address: bytes = b"203.0.113.9"
    client_port: int = 50123
    local_address: bytes = b"10.0.0.1"
    local_port: int = 443
    scheme: bytes = b"https"
    tls_version: bytes = b"TLSv1.3"
    cipher: bytes = b"TLS_AES_256_GCM_SHA384"
    resumed: bool = False
    handshake_s: float = 0.003
    handshake_in: int = 323
    handshake_out: int = 1869
    load_balancer: str = "shop"
    listener: str = "https"
    serial: int = 1234
    requests: int = 17
    rtt_us: int = 456
    wire_in: int = 12345
    wire_out: int = 34567
    log_prefix: Any = None


@dataclass
class SampleExchange:
    request_id: bytes = b"0123456789abcdef"
    method: bytes = b"GET"
    target: bytes = b"/a/b.js?c=d"
    minor_version: int = 1
    host: bytes = b"shop.example.com"
    status: int = 200
    started_at: float = 100.0
    ended_at: float = 100.0125
    rule_name: str = "shop.example.com/"
    server_name: bytes | None = b"shop.example.com"
    upstream_address: bytes = b"10.0.0.5:8080"
    upstream_status: int = 200
    upstream_connect_s: float = 0.0
    upstream_header_s: float = 0.009
    upstream_response_s: float = 0.0111
    retries: int = 0
    billed_in: int = 523
    billed_out: int = 2345
    error_reason: str = ""
    upgraded: bool = False
    repeats: bool = False
    """Whether the request has the fields object of the one before."""
    connection: SampleConnection = field(default_factory=SampleConnection)
    headers: dict[bytes, bytes] = field(
        default_factory=lambda: {b"user-agent": b"curl/8.0", b"referer": b"https://shop.example.com/a/"}
    )

    @property
    def fields(self) -> object:
        return self.headers if self.repeats else self

    def header(self, name: bytes, /) -> bytes:
        return self.headers.get(name, b"")
