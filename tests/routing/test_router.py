"""Domain, then URL; the default domain; rules that share a domain."""

from __future__ import annotations

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
