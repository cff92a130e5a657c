"""Domain, then URL; the default domain; rules that share a domain."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from clb.routing.router import Router, RouteSpec
from clb.routing.urls import SlashRedirect

ROUTER = Router(
    [
        RouteSpec("shop.example.com", "/", "shop"),
        RouteSpec("Shop.Example.com.", "/cart/", "cart"),
        RouteSpec("*.example.com", "/", "any"),
        RouteSpec("main.example.org", "/", "main", default=True),
        RouteSpec("main.example.org", "=/health", "health", default=True),
        RouteSpec("narrow.example.net", "/only", "only"),
    ]
)

ROUTES = {
    "domain_and_url": (b"shop.example.com", b"/", "shop"),
    "rules_of_a_domain_in_two_spellings": (b"shop.example.com", b"/cart/1", "cart"),
    "slash": (b"shop.example.com", b"/cart", SlashRedirect(b"/cart/")),
    "wildcard": (b"a.example.com", b"/cart", "any"),
    "default_domain_by_name": (b"main.example.org", b"/", "main"),
    "unknown_host": (b"unknown.example.net", b"/", "main"),
    "unknown_host_all_rules_of_the_default": (b"unknown.example.net", b"/health", "health"),
    "no_host": (b"", b"/", "main"),
    "no_url_in_the_domain": (b"narrow.example.net", b"/other", None),
}


@pytest.mark.parametrize(("host", "path", "expected"), ROUTES.values(), ids=ROUTES)
def test_route(host: bytes, path: bytes, expected: object) -> None:
    for _ in range(2):  # the second answer comes from the cache of hosts
        assert ROUTER.route(host, path) == expected


def test_without_a_default_an_unknown_host_has_no_rule() -> None:
    router = Router([RouteSpec("a.example", "/", 1)])
    assert router.route(b"b.example", b"/") is None


def test_no_rules() -> None:
    empty: Router[int] = Router([])
    assert empty.route(b"a.example", b"/") is None


def test_two_default_domains_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.example, b\.example"):
        Router([RouteSpec("a.example", "/", 1, default=True), RouteSpec("b.example", "/", 2, default=True)])


def test_many_unknown_hosts_keep_memory_bounded() -> None:
    for number in range(5000):
        assert ROUTER.route(b"h%d.example.net" % number, b"/") == "main"
    assert ROUTER._other.cache_info().currsize <= 1024


# --- made bit by bit, out of the last one ---


def run(steps: Generator[None, None, Router[object]]) -> tuple[Router[object], int]:
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, count
        count += 1


def specs(domains: int, urls: int, **other: object) -> list[RouteSpec[object]]:
    """`other` is what some rules answer instead of their own name."""
    return [
        RouteSpec(f"d{domain}.example", f"/{url}/", other.get(f"{domain}_{url}", (domain, url)), default=domain == 0)
        for domain in range(domains)
        for url in range(urls)
    ]


@pytest.mark.parametrize(("domains", "urls"), [(1, 2000), (2000, 1), (40, 40)])
def test_a_large_router_is_made_in_many_steps(domains: int, urls: int) -> None:
    router, steps = run(Router.in_steps(specs(domains, urls)))
    assert steps >= domains * urls // 100
    last = domains - 1, urls - 1
    assert router.route(b"d%d.example" % last[0], b"/%d/x" % last[1]) == last
    assert router.route(b"other.example", b"/1/" if urls > 1 else b"/0/") == (0, 1 if urls > 1 else 0)


def test_unchanged_domains_are_taken_from_the_last_router() -> None:
    last = Router(specs(3, 2))
    router, _ = run(Router.in_steps(specs(3, 2, **{"1_1": "new"}), last))
    assert router.route(b"d1.example", b"/1/") == "new"
    assert last.route(b"d1.example", b"/1/") == (1, 1)
    shared = [domain for domain in router._tables if router._tables[domain][1] is last._tables[domain][1]]
    assert shared == ["d0.example", "d2.example"]


def test_the_default_may_move_while_all_domains_stay() -> None:
    rules = specs(2, 1)
    moved = [RouteSpec(rule.domain, rule.url, rule.value, default=not rule.default) for rule in rules]
    router, _ = run(Router.in_steps(moved, Router(rules)))
    assert router.route(b"x.example", b"/0/") == (1, 0)
