"""Find the domain of a listener that a Host belongs to.

Owns:      the four forms of a domain and their priority: exact, `*.x`, `x.*`, `~regex`.
Elsewhere: reading a Host field (http1/target.py); what is served under a domain (routing/urls.py).
Pure:      same domains, same host, same answer.

As in nginx a wildcard stands for one or more labels: `*.example.com` serves `a.b.example.com`, but not
`example.com` itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

Served = TypeVar("Served")


def canonical_domain(domain: str) -> str:
    """The one spelling of a domain as it stands in a rule; a regex is kept as it is."""
    return domain if domain.startswith("~") else domain.lower().removesuffix(".")


class DomainTable(Generic[Served]):
    """Host to what is served there; the longest of several wildcards wins, the first of several regexes."""

    __slots__ = ("_leading", "_regexes", "_trailing", "exact")

    def __init__(self, domains: Mapping[str, Served]) -> None:
        self.exact: dict[bytes, Served] = {}
        """Public, so that the router can ask it first without a call in between."""
        self._leading: dict[bytes, Served] = {}
        self._trailing: dict[bytes, Served] = {}
        self._regexes: list[tuple[Callable[[bytes], object], Served]] = []
        for domain, served in domains.items():
            self._add(domain, served)

    def _add(self, domain: str, served: Served) -> None:
        if domain.startswith("~"):
            self._regexes.append((re.compile(domain[1:].encode(), re.IGNORECASE).search, served))
            return
        table, name = self.exact, domain
        if domain.startswith("*."):
            table, name = self._leading, domain[2:]
        elif domain.endswith(".*"):
            table, name = self._trailing, domain[:-2]
        if not name or "*" in name:
            raise ValueError(f"domain {domain!r}: one `*`, as the first label or the last, and a name beside it")
        table[name.encode("ascii")] = served

    def search(self, host: bytes) -> Served | None:
        """What a host that is in no exact domain gets. At most one dictionary look-up per label and table."""
        rest, dot = host, b"."
        while self._leading and dot:
            _, dot, rest = rest.partition(b".")
            if dot and (found := self._leading.get(rest)) is not None:
                return found
        rest, dot = host, b"."
        while self._trailing and dot:
            rest, dot, _ = rest.rpartition(b".")
            if dot and (found := self._trailing.get(rest)) is not None:
                return found
        return next((served for search, served in self._regexes if search(host)), None)
