"""The error tree: whose fault, whether a retry is safe, what the client sees.

Owns:      every error that crosses a layer of the data path.
Elsewhere: faults of a configuration file (config/faults.py) and of a certificate (certificates/faults.py),
           which are for an operator and never for a client.
Pure:      class attributes only; the text of an error is for the log, never for the peer.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Side(Enum):
    """Who caused an error."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    SELF = "self"


class ClbError(Exception):
    """Base of all; `reason` is the stable word for logs and metrics."""

    side: ClassVar[Side] = Side.SELF
    safe_to_retry: ClassVar[bool] = False
    """True only if no byte of the request can have reached a real server."""
    client_status: ClassVar[int | None] = 500
    """Status of the reply to the client; None closes without one."""
    reason: ClassVar[str] = "internal"
    retry_after_s: int = 0
    """In what time the client may try again, for the reply; 0 says nothing."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "reason" not in cls.__dict__:
            name = cls.__name__
            cls.reason = "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


# --- what a client sent -----------------------------------------------------------------------------


class BadRequest(ClbError):
    """A request that is refused and never forwarded (RFC 9112)."""

    side, client_status = Side.DOWNSTREAM, 400


class BadRequestLine(BadRequest):
    """Not `method SP target SP HTTP/1.x` (RFC 9112 section 3)."""


class BadVersion(BadRequest):
    """HTTP/0.9, HTTP/2.0 as text, RTSP or the like (RFC 9112 section 2.3)."""


class BadTarget(BadRequest):
    """A request target outside the grammar, or one that climbs above the root (RFC 9112 section 3.2)."""


class BadHost(BadRequest):
    """Host missing, repeated, empty or malformed (RFC 9112 section 3.2)."""


class BadHeader(BadRequest):
    """A field line outside the grammar: obs-fold, bare CR/LF/NUL, space before the colon (RFC 9112 section 5)."""


class BadFraming(BadRequest):
    """Content-Length and Transfer-Encoding together, repeated or malformed (RFC 9112 section 6)."""


class BadChunk(BadRequest):
    """A chunk size, extension or trailer outside the grammar (RFC 9112 section 7.1)."""


class AmbiguousRequest(BadRequest):
    """llhttp and h11 read the head differently (desync guard)."""


class MethodRefused(BadRequest):
    """CONNECT and TRACE are never served by a gateway."""

    client_status = 405


class MethodUnknown(BadRequest):
    """A method that is a token but not one of HTTP's (RFC 9110 section 9.1)."""

    client_status = 501


class CodingUnknown(BadRequest):
    """A well-formed transfer coding list with another coding before the final `chunked`."""

    client_status = 501


class ExpectationUnknown(BadRequest):
    """An Expect other than 100-continue (RFC 9110 section 10.1.1)."""

    client_status = 417


class LimitExceeded(BadRequest):
    """A bound of the listener's `limits`; the branch is counted as one."""


class HeadTooLarge(LimitExceeded):
    """`limits.header_bytes` or `limits.headers` exceeded."""

    client_status = 431


class TargetTooLong(LimitExceeded):
    """`limits.uri_bytes` exceeded."""

    client_status = 414


class BodyTooLarge(LimitExceeded):
    """`limits.body_bytes` exceeded."""

    client_status = 413


class DownstreamTimeout(ClbError):
    """The client let a deadline of the listener's `timeouts` pass."""

    side, client_status = Side.DOWNSTREAM, 408


class HeaderTimeout(DownstreamTimeout):
    """`timeouts.client_header`: the head did not arrive in time."""


class BodyTimeout(DownstreamTimeout):
    """`timeouts.client_body`: the body stood still for too long."""


class BodyTooSlow(DownstreamTimeout):
    """`limits.min_body_rate`: the body came in, but hardly."""


class ReadTooSlow(ClbError):
    """`limits.min_send_rate`: the client takes its answer, but hardly. The answer has begun, so it is cut."""

    side, client_status = Side.DOWNSTREAM, None


class AccessDenied(ClbError):
    """The client's address is not one that the rule or the listener serves (`access`)."""

    side, client_status = Side.DOWNSTREAM, 403


class RateLimited(ClbError):
    """A rate of `rate_limits` is used up (RFC 6585 section 4)."""

    side, client_status = Side.DOWNSTREAM, 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DownstreamAborted(ClbError):
    """The client went away before its answer was complete. 499 is what the log shows; nothing is sent."""

    side, client_status = Side.DOWNSTREAM, None


# --- what a real server did -------------------------------------------------------------------------


class UpstreamError(ClbError):
    """Base of what goes wrong behind clb."""

    side, client_status = Side.UPSTREAM, 502


class DialRefused(UpstreamError):
    """The real server's address refused or reset the connection, or is unreachable."""

    safe_to_retry = True


class DialTimeout(UpstreamError):
    """`timeouts.connect` passed without a connection."""

    safe_to_retry, client_status = True, 504


class UpstreamClosed(UpstreamError):
    """The connection ended before the answer was complete."""


class BadResponse(UpstreamError):
    """An answer that is framed or spelled wrongly; the connection is not used again."""


class UpstreamTimeout(UpstreamError):
    """`timeouts.upstream`: no byte of the answer for too long."""

    client_status = 504


class RequestTimeout(UpstreamError):
    """`timeouts.request`: the exchange as a whole took too long."""

    client_status = 504


class QueueTimeout(UpstreamError):
    """The target stood at its bound of connections for longer than `timeouts.queue`."""

    client_status = 503
    retry_after_s = 1


class QueueFull(UpstreamError):
    """The target's queue is at its bound."""

    client_status = 503
    retry_after_s = 1


class Overloaded(ClbError):
    """As many requests are under way as `in_flight` allows, and its queue is full or took too long."""

    client_status = 503
    retry_after_s = 1


class TargetRemoved(ClbError):
    """The target left the configuration, and `node.drain_timeout` was not enough for the request to finish."""

    client_status = 503


class NoDescriptors(ClbError):
    """This process has no file descriptor left for a connection to a real server: our fault, not its."""

    client_status = 503
    retry_after_s = 1


class NoTarget(UpstreamError):
    """The rule has no target that takes new work."""

    client_status = 503


class NoRule(ClbError):
    """No rule of the listener matches the request."""

    side, client_status = Side.DOWNSTREAM, 404
