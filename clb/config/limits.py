"""What a node, a listener or a rule takes at most, and from whom.

Owns:      the frozen models of caps, rates, lists and the queue in front of a rule.
Elsewhere: bounds of one connection and one request (listeners.py); what several keys say together (checks/limits.py);
           doing it (proxy/admission.py, proxy/request_gate.py).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from clb.config.fields import FieldName, FrozenModel, Network, rate, ratio, seconds, whole

Rate = Annotated[float, rate("1/h", "1000000/s")]
_Burst = Annotated[int, whole(1, 1_000_000)]


class RateCap(FrozenModel):
    """So many per second, with a reserve for bursts: a token bucket of the whole node."""

    rate: Rate
    burst: _Burst | None = None
    """How many may come at once; by default what one second brings, at least 1."""

    @property
    def depth(self) -> int:
        """The bucket's size."""
        return self.burst or max(1, math.ceil(self.rate))


class RateLimit(RateCap):
    """Requests per second, for each source, for each value of a header field, or for all together."""

    key: Literal["source", "header", "all"] = "source"
    header: FieldName | None = None
    """With `key: header`; a request without it counts for its source."""
    prefix_v4: Annotated[int, whole(8, 32)] = 32
    prefix_v6: Annotated[int, whole(16, 128)] = 64
    log_only: bool = False
    """Count and log what would be refused, and let it pass."""


class Access(FrozenModel):
    """Whom to serve, by address; `deny` is stronger."""

    allow: tuple[Network, ...] = ()
    """If there are any, nobody else is let in."""
    deny: tuple[Network, ...] = ()


class InFlight(FrozenModel):
    """Requests under way at once in the whole node, and how many more may wait for how long."""

    requests: Annotated[int, whole(1, 1_000_000)]
    queue: Annotated[int, whole(0, 1_000_000)] = 0
    wait: Annotated[float, seconds("100ms", "60s")] = 1.0


class NodeLimits(FrozenModel):
    """What the whole node takes, and when one of its workers has enough."""

    connections: Annotated[int, whole(1, 10_000_000)] | None = None
    loop_lag: Annotated[float, seconds("0s", "10s")] = 0.2
    """A worker that is so late for its own timer, twice in a row, takes no new connections; 0 is off."""
    descriptor_reserve: Annotated[float, ratio()] = 0.2
    """Share of a worker's file descriptors that new connections of clients may not take."""
