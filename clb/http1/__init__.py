"""HTTP/1.1 heads and framing (RFC 9110, RFC 9112): bytes in, verdicts out. No sockets, no clock."""
