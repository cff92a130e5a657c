"""What the access log wants to know of one exchange, and the fields it writes in which order.

Owns:      the protocols the data path satisfies, and the table of fields.
Elsewhere: how a field is spelled (access_line.py); where lines go (access_log.py, log_sink.py).
Pure:      types and names only.
"""

from __future__ import annotations

from typing import Any, Protocol


class ConnectionRecord(Protocol):
    """The downstream connection that carried an exchange.

    All but the counters (`requests`, `rtt_us`, `wire_in`, `wire_out`) are constant from the first
    exchange on: the log renders them once per connection.
    """

    @property
    def client_address(self) -> bytes: ...
    @property
    def client_port(self) -> int: ...
    @property
    def local_address(self) -> bytes: ...
    @property
    def local_port(self) -> int: ...
    @property
    def scheme(self) -> bytes:
        """`https` or `http`: with `http` the fields of TLS are absent."""
        ...

    @property
    def tls_version(self) -> bytes: ...
    @property
    def cipher(self) -> bytes: ...
    @property
    def resumed(self) -> bool: ...
    @property
    def handshake_s(self) -> float: ...
    @property
    def handshake_in(self) -> int: ...
    @property
    def handshake_out(self) -> int: ...
    @property
    def load_balancer(self) -> str: ...
    @property
    def listener(self) -> str: ...
    @property
    def serial(self) -> int:
        """Number of the connection within its process."""
        ...

    @property
    def requests(self) -> int: ...
    @property
    def rtt_us(self) -> int: ...
    @property
    def wire_in(self) -> int: ...
    @property
    def wire_out(self) -> int: ...

    log_prefix: Any
    """A slot of the log's own: None at first, and nobody else's to read."""


class AccessRecord(Protocol):
    """One exchange, complete or given up."""

    @property
    def request_id(self) -> bytes: ...
    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def minor_version(self) -> int: ...
    @property
    def host(self) -> bytes: ...
    @property
    def status(self) -> int:
        """499: the client went away before an answer."""
        ...

    @property
    def started_at(self) -> float:
        """Seconds of the loop's clock, as `ended_at`."""
        ...

    @property
    def ended_at(self) -> float: ...
    @property
    def rule_name(self) -> str:
        """Empty: no rule."""
        ...

    @property
    def server_name(self) -> bytes | None:
        """What the client asked for by SNI; constant within a connection."""
        ...

    @property
    def upstream_address(self) -> bytes:
        """`-`: none was chosen."""
        ...

    @property
    def upstream_status(self) -> int:
        """0: no answer."""
        ...

    @property
    def upstream_connect_s(self) -> float:
        """-1.0: not reached, as for the other two; 0.0 on a reused connection."""
        ...

    @property
    def upstream_header_s(self) -> float: ...
    @property
    def upstream_response_s(self) -> float: ...
    @property
    def retries(self) -> int: ...
    @property
    def billed_in(self) -> int:
        """HTTP bytes of this exchange alone, as `billed_out`."""
        ...

    @property
    def billed_out(self) -> int: ...
    @property
    def error_reason(self) -> str:
        """`ClbError.reason`; empty: nothing went wrong."""
        ...

    @property
    def upgraded(self) -> bool: ...
    @property
    def connection(self) -> ConnectionRecord: ...

    @property
    def fields(self) -> object:
        """The request's fields; the very same object means the very same fields as in the exchange before."""
        ...

    def header(self, name: bytes, /) -> bytes:
        """First value of a request header by its lower-case name, or nothing."""
        ...


FIELDS = (
    # The model's fields in the model's order (docs/access-log.md says what each means).
    "stgw_request_id",
    "time_local",
    "protocol_type",
    "lb_id",
    "server_addr",
    "server_name",
    "remote_addr",
    "status",
    "upstream_addr",
    "upstream_status",
    "proxy_host",
    "request",
    "request_length",
    "bytes_sent",
    "http_host",
    "http_user_agent",
    "http_referer",
    "request_time",
    "upstream_response_time",
    "upstream_connect_time",
    "upstream_header_time",
    "tcpinfo_rtt",
    "connection",
    "connection_requests",
    "ssl_handshake_time",
    "ssl_cipher",
    "ssl_protocol",
    "ssl_session_reused",
    "vip_vpcid",
    "uri",
    "server_protocol",
    # clb's additions. New ones go to the end, so that a parser by position goes on working.
    "listener",
    "retries",
    "error_reason",
    "wire_in",
    "wire_out",
    "handshake_in",
    "handshake_out",
)
