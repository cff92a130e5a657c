"""Say which rule of a listener serves a request.

Owns:      putting domains and URLs together, and the default domain.
Elsewhere: the two orders of priority (routing/domains.py, routing/urls.py); redirects (routing/redirect.py).
Pure:      a router never changes; another set of rules is another router.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from clb.routing.domains import DomainTable, canonical_domain
from clb.routing.urls import RULES_IN_A_STEP, SlashRedirect, UrlTable

T = TypeVar("T")

_CACHED_HOSTS = 1024
"""Hosts that are in no exact domain and whose domain is remembered; at 255 bytes each, under 0.5 MiB."""
_SPECS_IN_A_STEP = 500


@dataclass(frozen=True, slots=True)
class RouteSpec(Generic[T]):
    """One rule as the router sees it; `value` is what `route` answers, and is never None."""

    domain: str
    url: str
    value: T
    default: bool = False
    """The domain of this rule also serves every host that no domain matches."""


class Router(Generic[T]):
    """The rules of one listener. Rules with the same domain share it, in the order of the file."""

    __slots__ = ("_exact", "_other", "_tables")

    def __init__(self, rules: Iterable[RouteSpec[T]]) -> None:
        for _ in self._build(rules, {}):
            pass

    @classmethod
    def in_steps(cls, rules: Iterable[RouteSpec[T]], last: Router[T] | None = None) -> Generator[None, None, Router[T]]:
        """Make a router bit by bit, for a caller that has other things to do in between.

        Domains whose rules are those of the last router are taken from it as they are.
        """
        router = cls.__new__(cls)
        yield from router._build(rules, last._tables if last is not None else {})
        return router

    def _build(
        self, rules: Iterable[RouteSpec[T]], known: Mapping[str, tuple[list[tuple[str, T]], UrlTable[T]]]
    ) -> Generator[None, None, None]:
        by_domain: dict[str, list[tuple[str, T]]] = {}
        default_domains: set[str] = set()
        for number, rule in enumerate(rules, 1):
            domain = canonical_domain(rule.domain)
            by_domain.setdefault(domain, []).append((rule.url, rule.value))
            if rule.default:
                default_domains.add(domain)
            if number % _SPECS_IN_A_STEP == 0:
                yield
        if len(default_domains) > 1:
            raise ValueError(f"more than one default domain: {', '.join(sorted(default_domains))}")
        self._tables: dict[str, tuple[list[tuple[str, T]], UrlTable[T]]] = {}
        for number, (domain, urls) in enumerate(by_domain.items(), 1):
            same = known.get(domain)
            if same is None or same[0] != urls:
                same = (urls, (yield from UrlTable.in_steps(urls)))
            self._tables[domain] = same
            if number % RULES_IN_A_STEP == 0:
                yield
        self._connect(default_domains)

    def _connect(self, default_domains: set[str]) -> None:
        tables = {domain: table for domain, (_, table) in self._tables.items()}
        nothing: UrlTable[T] = UrlTable(())
        default = tables[default_domains.pop()] if default_domains else nothing
        domains = DomainTable(tables)
        self._exact = domains.exact
        # A regex or a walk over labels is paid once per host, not once per request.
        self._other = lru_cache(maxsize=_CACHED_HOSTS)(lambda host: domains.search(host) or default)

    def route(self, host: bytes, path: bytes) -> T | SlashRedirect | None:
        """The rule for a host as `split_host` gives it (empty: none was sent) and a normalised path.

        None: the domain has no rule for the path, which is a 404.
        """
        return (self._exact.get(host) or self._other(host)).match(path)
