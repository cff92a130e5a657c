"""What a listener does with a request: rules, their real servers, sessions, checks and redirects.

Owns:      the frozen models below a listener's `rules`.
Elsewhere: what several keys say together (checks/rules.py); doing it (routing/, balancing/, proxy/).
"""

from __future__ import annotations

from typing import Annotated, Literal

from clb.config.fields import (
    CookieName,
    Domain,
    FieldName,
    FrozenModel,
    Host,
    HostName,
    Port,
    RetryCauses,
    StatusPattern,
    TargetPath,
    Url,
    ratio,
    seconds,
    whole,
)
from clb.config.limits import Access, InFlight, RateLimit


class Target(FrozenModel):
    """One real server, reached by plain HTTP."""

    address: Host
    """IP address, or a host name that is resolved again and again."""
    port: Port
    weight: Annotated[int, whole(0, 100)] = 10
    """Share of new work; 0 takes none and lets the running finish."""

    @property
    def identity(self) -> str:
        """Address and port: what makes it the same target after a reload."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class HashOn(FrozenModel):
    """What of a request `scheduler: maglev` hashes: one of these. A request without it is hashed by its source."""

    header: FieldName | None = None
    cookie: CookieName | None = None
    url: Literal["path", "full"] | None = None
    """The path alone, or with its query."""
    source: Literal[True] | None = None
    """The client's address; the default."""


class Session(FrozenModel):
    """Cookie persistence: a client comes back to the real server it had (scheduler wrr only)."""

    expire: Annotated[float, seconds("0s", "1d")] = 0.0
    """Life of the cookie; 0 switches persistence off."""
    cookie_name: CookieName = "CLBSESSION"
    same_site: Literal["lax", "strict", "none"] = "lax"


class HealthCheck(FrozenModel):
    """How it is found out whether a real server answers."""

    enabled: bool = True
    type: Literal["http", "tcp"] = "http"
    path: TargetPath = "/"
    method: Literal["HEAD", "GET"] = "HEAD"
    host: HostName | None = None
    """Host header of a probe; by default the rule's domain, for a pattern the real server's address."""
    interval: Annotated[float, seconds("100ms", "300s")] = 5.0
    timeout: Annotated[float, seconds("50ms", "60s")] = 2.0
    healthy: Annotated[int, whole(1, 10)] = 3
    unhealthy: Annotated[int, whole(1, 10)] = 3
    codes: tuple[StatusPattern, ...] = ("2xx", "3xx", "4xx")


class Passive(FrozenModel):
    """When real requests show that a real server fails, it is ejected: takes no new work for a while.

    The counts are of failures in a row, as one worker sees them; 0 switches a reason off.
    """

    connect_failures: Annotated[int, whole(0, 1000)] = 5
    """Refused, reset, not connected in time, or closed before an answer; also answers that are no HTTP."""
    timeouts: Annotated[int, whole(0, 1000)] = 5
    """`timeouts.upstream` passed."""
    server_errors: Annotated[int, whole(0, 1000)] = 10
    """Answers 5xx. More than of the others, since one broken page is not a broken server."""
    ejection: Annotated[float, seconds("100ms", "1h")] = 30.0
    """The first one; each that follows takes twice as long as the one before."""
    ejection_maximum: Annotated[float, seconds("100ms", "1d")] = 300.0
    """The longest; so much good service halves the next one again."""
    share: Annotated[float, ratio()] = 0.5
    """Of the rule's targets, how many may be ejected at once. One always stays, whatever this says."""


class Redirect(FrozenModel):
    """Send the client elsewhere. What is not named stays as it was in the request."""

    status: Literal[301, 302, 307, 308] = 301
    scheme: Literal["http", "https"] | None = None
    host: HostName | None = None
    port: Port | None = None
    """By default the scheme's own, if `scheme` is given, else the listener's."""
    path: TargetPath | None = None
    """Replaces the request's path and query."""
    keep_path: bool = True
    """Without `path`: whether the request's path and query are carried over, or "/" takes their place."""


class Pool(FrozenModel):
    """Connections to each real server of a rule."""

    connections: Annotated[int, whole(1, 65535)] = 1024
    """Bound per target."""
    idle: Annotated[int, whole(0, 65535)] = 64
    """How many may wait for the next request."""
    idle_timeout: Annotated[float, seconds("0s", "1h")] = 60.0
    queue: Annotated[int, whole(0, 1_000_000)] = 1024
    """How many requests may wait for a connection when the bound is reached."""
    requests: Annotated[int, whole(0, 1_000_000_000)] = 0
    """Requests on one connection before it is closed; 0 = no bound."""


class Retry(FrozenModel):
    """Another real server for a request that none has begun to answer."""

    attempts: Annotated[int, whole(0, 10)] = 2
    """Further targets after the first."""
    on: RetryCauses = ("connect", "closed")
    """What is followed by another attempt. But for `connect`, only requests that may be sent twice and have no body."""
    timeout: Annotated[float, seconds("0s", "1h")] = 0.0
    """With `timeout` in `on`: how long one attempt may take to the answer's head; 0 = `timeouts.upstream`."""
    budget: Annotated[float, ratio()] = 0.5
    """Share of the live requests that may be retries, so that retries cannot multiply an overload."""
    budget_minimum: Annotated[int, whole(0, 1_000_000)] = 100
    """Retries that are always allowed, however few requests are live."""


class Rule(FrozenModel):
    """Domain and URL, and where their requests go: to targets or by redirect."""

    domain: Domain
    url: Url = "/"
    default: bool = False
    """Whether requests for a domain that no rule names go here."""
    scheduler: Literal["wrr", "least_conn", "p2c_ewma", "ip_hash", "maglev"] = "wrr"
    hash_on: HashOn = HashOn()
    session: Session = Session()
    health_check: HealthCheck = HealthCheck()
    passive: Passive = Passive()
    slow_start: Annotated[float, seconds("0s", "1h")] = 10.0
    """How long the share of a target that comes new or back grows to its weight; not with a scheduler that hashes."""
    all_dead: Literal["serve", "refuse"] = "serve"
    """When every target is out: all of them get traffic, or clients get 503 at once."""
    targets: tuple[Target, ...] = ()
    redirect: Redirect | None = None
    pool: Pool = Pool()
    retry: Retry = Retry()
    access: Access = Access()
    rate_limits: tuple[RateLimit, ...] = ()
    in_flight: InFlight | None = None
