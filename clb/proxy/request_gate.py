"""What stands before the requests of a listener or a rule: lists of addresses, rates, the bound of those under way.

Owns:      the order of the three, whose bucket a request takes from, what is said to those who are turned away.
Elsewhere: the arithmetic (metering/shared_rates.py), the queue (in_flight.py); connections (admission.py).

A listener or a rule without any of it has no gate, and its requests pay for one look at an attribute.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from clb.config.models import Access, InFlight, RateLimit
from clb.errors import AccessDenied, ClbError, RateLimited
from clb.proxy.forwarded import real_address
from clb.proxy.in_flight import InFlightBound
from clb.proxy.node_share import REMEMBERED_KEYS, NodeRate, NodeShare
from clb.routing.networks import AccessList, source_network

if TYPE_CHECKING:
    from clb.proxy.exchange import Exchange


class RequestGate:
    """The gate of one listener or rule."""

    def __init__(
        self, owner: str, access: AccessList | None, rates: tuple[RequestRate, ...], bound: InFlightBound | None
    ) -> None:
        self.owner = owner
        """Key of the listener or rule; a request that has passed an earlier gate of its has passed this one."""
        self._access = access
        self._rates = rates
        self._bound = bound
        self._known: dict[str, bool] = {}
        """Verdicts of the list on addresses that were seen."""

    def passes(self, exchange: Exchange) -> bool:
        """Tell whether the exchange goes on now. If not it has its answer, or it waits and will `begin` again."""
        if exchange.gates and any(gate.owner == self.owner for gate in exchange.gates):
            return True
        try:
            if self._access is not None or self._rates:
                self._check(exchange)
            goes_on = self._bound is None or self._bound.enter(exchange)
        except ClbError as error:
            _refuse(exchange, error)
            return False
        exchange.gates += (self,)
        return goes_on

    def leave(self, exchange: Exchange) -> None:
        """The exchange is over, or gives up waiting."""
        if self._bound is None:
            return
        if exchange.is_queued and exchange.gates[-1] is self:
            self._bound.cancel(exchange)
        else:
            self._bound.leave()

    def _check(self, exchange: Exchange) -> None:
        source = _source(exchange)
        if self._access is not None and not self._lets_in(self._access, source):
            raise AccessDenied(f"{source} is not served")
        now = exchange.started_at
        for rate in self._rates:
            wait = rate.wait(exchange, source, now)
            if wait and rate.log_only:
                exchange.connection.runtime.noted(logging.INFO, "rate_limit_log_only", source)
            elif wait:
                raise RateLimited(f"{rate.name}, {source}", math.ceil(wait / 1e9))

    def _lets_in(self, access: AccessList, source: str) -> bool:
        verdict = self._known.get(source)
        if verdict is None:
            if len(self._known) >= REMEMBERED_KEYS:
                self._known.clear()
            verdict = self._known[source] = access.lets_in(source)
        return verdict


class RequestRate:
    """One entry of `rate_limits`."""

    __slots__ = ("_config", "_header", "_rate", "_sources", "is_for_all", "log_only", "name")

    def __init__(self, share: NodeShare, owner: str, number: int, config: RateLimit) -> None:
        self.name = f"rate_limits[{number}]"
        self.log_only = config.log_only
        self.is_for_all = config.key == "all"
        self._config = config
        self._header = (config.header or "").encode("ascii")
        self._rate = NodeRate(share, f"requests {owner} {config.key} {config.header or ''}", config)
        self._sources: dict[str, bytes] = {}

    def wait(self, exchange: Exchange, source: str, now: float) -> int:
        """Take a token: 0, or in how many nanoseconds there will be one."""
        if self.is_for_all:
            return self._rate.wait(now)
        if self._header:
            value = exchange.request.value(self._header)
            if value:
                return self._rate.wait(now, b"=" + value)
        key = self._sources.get(source)
        if key is None:
            if len(self._sources) >= REMEMBERED_KEYS:
                self._sources.clear()
            key = self._sources[source] = source_network(source, self._config.prefix_v4, self._config.prefix_v6)
        return self._rate.wait(now, key)


def build_gate(
    share: NodeShare,
    loop: asyncio.AbstractEventLoop,
    key: str,
    first_field: int,
    access: Access,
    rate_limits: tuple[RateLimit, ...],
    in_flight: InFlight | None,
) -> RequestGate | None:
    """Build the gate of a listener or rule; None if it asks for none.

    Args:
        share: the process's part of the node's numbers.
        loop: where those who wait are looked after.
        key: of the listener or rule, as in metering/cells.py.
        first_field: of the three fields of its row that the bound of requests under way takes.
        access: whom it serves; of a listener that is asked when a client connects, so it is empty here.
        rate_limits: its rates.
        in_flight: its bound.
    """
    if not (access.allow or access.deny or rate_limits or in_flight):
        return None
    listed = AccessList(access.allow, access.deny)
    rates = [RequestRate(share, key, number, config) for number, config in enumerate(rate_limits)]
    # Who is over a rate of his own must not use up the one that is for all.
    rates.sort(key=lambda rate: rate.is_for_all)
    bound = InFlightBound(share, loop, in_flight, key, first_field) if in_flight is not None else None
    return RequestGate(key, listed if listed else None, tuple(rates), bound)


def _source(exchange: Exchange) -> str:
    """Return whom a request is from: behind trusted proxies, whom they say it is from."""
    connection, request = exchange.connection, exchange.request
    address = connection.client_address
    trusted = connection.runtime.config.trusted_proxies
    if trusted and request.supplied:
        chain = request.supplied.get(b"x-forwarded-for")
        if chain:
            address = real_address(chain, address, trusted)
    return address.decode("ascii")


def _refuse(exchange: Exchange, error: ClbError) -> None:
    exchange.fail(error)
    connection = exchange.connection
    connection.runtime.log_refusal(connection, error, exchange.status, exchange.request_id)
