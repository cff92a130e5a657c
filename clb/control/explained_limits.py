"""Which bounds hold for a request, and whether its sender is served at all.

Owns:      naming them as the configuration does.
Elsewhere: lists of addresses (routing/networks.py); keeping the bounds (proxy/admission.py, proxy/request_gate.py).

What depends on the moment (how much of a rate is used up) is in the metrics, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clb.config.models import Access, InFlight, Listener, RateCap, RateLimit, Rule
from clb.control.explanation_models import LimitAnswer
from clb.http1.request import RequestHead
from clb.proxy.forwarded import real_address
from clb.routing.networks import AccessList
from clb.units import format_duration, format_rate, format_size


def listener_limits(listener: Listener) -> list[LimitAnswer]:
    """Bounds of the listener."""
    pairs = [(f"limits.{name}", value) for name, value in listener.limits]
    pairs += [(f"timeouts.{name}", format_duration(value)) for name, value in listener.timeouts]
    return [*_answers(pairs), *_gate_limits(listener.rate_limits, listener.in_flight)]


def rule_limits(rule: Rule) -> list[LimitAnswer]:
    """Bounds of the rule."""
    pairs = [(f"pool.{name}", value) for name, value in rule.pool]
    pairs += [(f"retry.{name}", value) for name, value in rule.retry]
    return [*_answers(pairs), *_gate_limits(rule.rate_limits, rule.in_flight, "rule ")]


def listener_lets_in(listener: Listener, client: str) -> bool:
    """Whether the connection is taken."""
    return _list(listener.access).lets_in(client)


def rule_lets_in(rule: Rule, listener: Listener, head: RequestHead, client: str) -> bool:
    """Whether the request is: behind trusted proxies, whom they say it is from counts."""
    address = client.encode("ascii")
    chain = head.supplied.get(b"x-forwarded-for")
    if chain and listener.trusted_proxies:
        address = real_address(chain, address, listener.trusted_proxies)
    return _list(rule.access).lets_in(address.decode("ascii"))


def _list(access: Access) -> AccessList:
    return AccessList(access.allow, access.deny)


def _gate_limits(rates: Iterable[RateLimit], bound: InFlight | None, owner: str = "") -> Iterator[LimitAnswer]:
    for number, limit in enumerate(rates):
        of = {"header": f" for each value of {limit.header}", "source": " for each source"}.get(limit.key, "")
        only = ", only logged" if limit.log_only else ""
        yield LimitAnswer(name=f"{owner}rate_limits[{number}]", value=f"{_rate(limit)}{of}{only}")
    if bound is not None:
        waiting = f", {bound.queue} more wait for {format_duration(bound.wait)}" if bound.queue else ""
        yield LimitAnswer(name=f"{owner}in_flight", value=f"{bound.requests}{waiting}")


def _answers(pairs: Iterable[tuple[str, object]]) -> list[LimitAnswer]:
    return [LimitAnswer(name=name, value=_words(name, value)) for name, value in pairs if value is not None]


def _words(name: str, value: object) -> str:
    if isinstance(value, RateCap):
        return _rate(value)
    if name.endswith("_bytes") and isinstance(value, int):
        return format_size(value)
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, float) and name != "retry.budget":
        return format_duration(value)  # Everything else that is no whole number is a time.
    return str(value)


def _rate(cap: RateCap) -> str:
    return f"{format_rate(cap.rate)}, {cap.depth} at once"
