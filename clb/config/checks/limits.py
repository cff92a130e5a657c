"""Keys of caps and rates that need or exclude each other.

Owns:      rate limits by header field, lists that lock everybody out.
Elsewhere: single keys (config/limits.py).
Pure:      plain data in, problems out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from clb.config.checks.view import View
from clb.config.faults import Problem, quote


def check_limits(owner: View) -> Iterator[Problem]:
    """What a listener or a rule says about whom it takes, and how much."""
    for limit in owner.views("rate_limits"):
        yield from _check_key(limit)
    yield from _check_access(owner.view("access"))


def _check_key(limit: View) -> Iterator[Problem]:
    key = limit.text("key", "source")
    if key == "header" and not limit.given("header"):
        yield Problem(limit.at("header"), "is missing; name the field whose values are told apart")
    if key in ("source", "all") and limit.given("header"):
        yield Problem(limit.at("header"), f"means nothing with key: {key}; remove header or set key: header", "key")
    if key == "all":
        for name in ("prefix_v4", "prefix_v6"):
            if limit.given(name):
                yield Problem(limit.at(name), f"means nothing with key: all; remove {name}", "key")


def _check_access(access: View) -> Iterator[Problem]:
    if access.is_empty_list("allow"):
        yield Problem(access.at("allow"), "is empty, which lets everybody in; remove it or list who may", "key")
    denied = [_network(item) for item in access.items("deny")]
    for index, item in enumerate(access.items("allow")):
        network = _network(item)
        for other in denied:
            if network is not None and other is not None and _covers(other, network):
                message = f"{quote(str(network))} is never let in, since deny has {other}, which is stronger"
                yield Problem(access.at("allow", index), message, is_warning=True)
                break


def _network(item: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(item) if isinstance(item, str) else None
    except ValueError:
        return None  # said by the model


def _covers(
    wide: ipaddress.IPv4Network | ipaddress.IPv6Network, narrow: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(wide, ipaddress.IPv4Network):
        return isinstance(narrow, ipaddress.IPv4Network) and narrow.subnet_of(wide)
    return isinstance(narrow, ipaddress.IPv6Network) and narrow.subnet_of(wide)
