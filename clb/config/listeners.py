"""One socket and what is spoken on it: TLS, timeouts, limits, whom to believe.

Owns:      the frozen models of a listener, but for its rules.
Elsewhere: what several keys say together (checks/listeners.py); rules.py; doing it (tls/, proxy/).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from clb.config.fields import File, FrozenModel, IpAddress, Name, Network, Port, seconds, size, whole
from clb.config.limits import Access, InFlight, RateCap, RateLimit
from clb.config.rules import Rule


class Timeouts(FrozenModel):
    """How long each side of one connection may be silent."""

    handshake: Annotated[float, seconds("100ms", "120s")] = 10.0
    """Accept to finished handshake. A silent client holds a connection slot for this long."""
    client_header: Annotated[float, seconds("100ms", "1h")] = 60.0
    client_body: Annotated[float, seconds("100ms", "1h")] = 60.0
    keepalive: Annotated[float, seconds("0s", "1h")] = 75.0
    """Between two requests; 0 closes after each answer."""
    connect: Annotated[float, seconds("50ms", "120s")] = 4.0
    upstream: Annotated[float, seconds("100ms", "1h")] = 60.0
    """A real server that is silent, before its answer or within it."""
    request: Annotated[float, seconds("0s", "1d")] = 0.0
    """A whole request, from its head to the end of its answer; 0 = no bound. Upgraded connections are exempt."""
    send: Annotated[float, seconds("100ms", "1h")] = 60.0
    tunnel: Annotated[float, seconds("100ms", "1d")] = 900.0
    """An upgraded connection with no byte either way."""
    queue: Annotated[float, seconds("0s", "60s")] = 5.0
    """Waiting for a connection to a target that is at its bound."""
    linger: Annotated[float, seconds("0s", "60s")] = 5.0
    """Reading on after a refusal, so that the client gets to see it."""


class Limits(FrozenModel):
    """Bounds of one connection and of the listener."""

    keepalive_requests: Annotated[int, whole(1, 1_000_000)] = 10_000
    header_bytes: Annotated[int, size("1KiB", "256KiB")] = 64 << 10
    uri_bytes: Annotated[int, size("64B", "64KiB")] = 8 << 10
    headers: Annotated[int, whole(8, 1000)] = 100
    body_bytes: Annotated[int, size("0B", "1TiB")] = 60 << 20
    connections: Annotated[int, whole(1, 1_000_000)] = 20_000
    """In the whole node, as all that follows but the last three."""
    connections_per_source: Annotated[int, whole(1, 1_000_000)] | None = None
    source_prefix_v4: Annotated[int, whole(8, 32)] = 32
    source_prefix_v6: Annotated[int, whole(16, 128)] = 64
    """How much of an address makes a source."""
    accept_rate: RateCap | None = None
    accept_rate_per_source: RateCap | None = None
    handshake_rate: RateCap | None = None
    handshake_rate_per_source: RateCap | None = None
    handshakes: Annotated[int, whole(1, 1_000_000)] = 5000
    """In progress; above it the oldest one makes room for the next."""
    min_body_rate: Annotated[int, size("0B", "1GiB")] = 240
    min_send_rate: Annotated[int, size("0B", "1GiB")] = 240
    """Bytes a second that a client must send of its body, or take of an answer, while it is the one waited for."""
    rate_grace: Annotated[float, seconds("100ms", "10m")] = 5.0
    """Over what time both are averaged."""


class ProxyProtocol(FrozenModel):
    """Who may (and must) announce the client's address in a PROXY header."""

    trusted: Annotated[tuple[Network, ...], Field(alias="from")]


class Listener(FrozenModel):
    """Address, port and protocol, with everything that holds for all its connections."""

    name: Name
    """By default protocol and port: `https-443`."""
    address: IpAddress = "0.0.0.0"  # noqa: S104 - a load balancer serves all interfaces unless told otherwise
    """`::` also takes IPv4."""
    port: Port = 443
    protocol: Literal["https", "http"] = "https"

    tls_policy: Literal["documented", "intermediate", "modern"] = "documented"
    ssl_mode: Literal["one_way", "mutual"] = "one_way"
    verify_client: Literal["required", "optional"] = "required"
    certificate: Name | None = None
    sni: bool = False
    certificates: tuple[Name, ...] = ()
    """With `sni: true`; the first is for clients that name no host, or one that no certificate covers."""
    ca_certificate: Name | None = None
    crl: File | None = None
    verify_depth: Annotated[int, whole(1, 10)] = 1
    min_client_key_bits: Annotated[int, whole(512, 16384)] = 2048

    proxy_protocol: ProxyProtocol | None = None
    trusted_proxies: tuple[Network, ...] = ()
    """Whose request id is kept and whose X-Forwarded-For is believed."""
    desync_guard: Literal["off", "monitor", "enforce"] = "monitor"
    forwarded_for: Literal["append", "replace"] = "append"
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    access: Access = Access()
    rate_limits: tuple[RateLimit, ...] = ()
    in_flight: InFlight | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Names of the server certificates, the default first."""
        return self.certificates or ((self.certificate,) if self.certificate else ())

    @model_validator(mode="before")
    @classmethod
    def _name_by_socket(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or raw.get("name") is not None:
            return raw
        port, protocol = raw.get("port", 443), raw.get("protocol", "https")
        return {**raw, "name": f"{protocol}-{port}" if isinstance(port, int) else "listener"}
