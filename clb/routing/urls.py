"""Find the rule of one domain that a path belongs to.

Owns:      the five forms of a URL and nginx's order of priority: `=` exact; the longest prefix if it is
           a `^~` one; the first regex (`~`, `~*`) in file order; the longest plain prefix.
Elsewhere: the spelling of the path (routing/path.py); which domain (routing/domains.py).
Pure:      same rules, same path, same answer.

A prefix is a string prefix: `/abc` serves `/abc`, `/abc/` and `/abcd`. `/abc/` serves what is below it, and a
request for `/abc` itself is sent there, unless another rule names `/abc`.

A regex is searched anywhere in the path. Python's engine backtracks: config/patterns.py refuses what could
take exponential time, and the path is no longer than `limits.uri_bytes`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from clb.errors import BadTarget
from clb.routing.path import normalise_path

T = TypeVar("T")

RULES_IN_A_STEP = 50
"""Half a millisecond's work, where none is a regex."""


@dataclass(frozen=True, slots=True)
class SlashRedirect:
    """Send the client to `path`, by 301; the query of its request is kept by the caller."""

    path: bytes


class _Prefix(Generic[T]):
    """A prefix rule, and the longest rule that is in turn a prefix of it."""

    __slots__ = ("final", "parent", "prefix", "value")

    def __init__(self, prefix: bytes, value: T | None, *, final: bool = False) -> None:
        self.prefix = prefix
        self.value = value
        self.final = final
        """`^~`: no regex is asked."""
        self.parent: _Prefix[T] | None = None


class UrlTable(Generic[T]):
    """The rules of one domain."""

    __slots__ = ("_exact", "_nodes", "_prefixes", "_regexes")

    def __init__(self, rules: Iterable[tuple[str, T]]) -> None:
        for _ in self._build(rules):
            pass

    @classmethod
    def in_steps(cls, rules: Iterable[tuple[str, T]]) -> Generator[None, None, UrlTable[T]]:
        """Make a table bit by bit, for a caller that has other things to do in between."""
        table = cls.__new__(cls)
        yield from table._build(rules)
        return table

    def _build(self, rules: Iterable[tuple[str, T]]) -> Iterator[None]:
        self._exact: dict[bytes, T | SlashRedirect] = {}
        self._regexes: list[tuple[Callable[[bytes], object], T]] = []
        nodes: dict[bytes, _Prefix[T]] = {}
        for number, (url, value) in enumerate(rules, 1):
            self._add(url, value, nodes)
            if number % RULES_IN_A_STEP == 0:
                yield
        for prefix in nodes:
            bare = prefix[:-1]
            if prefix.endswith(b"/") and bare and bare not in nodes:
                self._exact.setdefault(bare, SlashRedirect(prefix))
        yield
        self._link(nodes)

    def _add(self, url: str, value: T, nodes: dict[bytes, _Prefix[T]]) -> None:
        if url.startswith("~"):
            pattern, flags = (url[2:], re.IGNORECASE) if url.startswith("~*") else (url[1:], 0)
            self._regexes.append((re.compile(pattern.encode(), flags).search, value))
            return
        exact, final = url.startswith("="), url.startswith("^~")
        path = _rule_path(url[1:] if exact else url[2:] if final else url)
        if path in (self._exact if exact else nodes):
            raise ValueError(f"url {url!r}: there is a rule for it already")
        if exact:
            self._exact[path] = value
        else:
            nodes[path] = _Prefix(path, value, final=final)

    def _link(self, nodes: dict[bytes, _Prefix[T]]) -> None:
        """Sort the prefixes; the parent of each is the nearest one before it that is a prefix of it."""
        # Every path starts with `/`, so the rule for it needs no look: it is where every chain ends.
        root = nodes.pop(b"/", None) or _Prefix(b"", None)
        self._prefixes = sorted(nodes)
        self._nodes = [root]
        chain = [root]
        for prefix in self._prefixes:
            while not prefix.startswith(chain[-1].prefix):
                chain.pop()
            node = nodes[prefix]
            node.parent = chain[-1]
            chain.append(node)
            self._nodes.append(node)

    def match(self, path: bytes) -> T | SlashRedirect | None:
        if self._exact and (exact := self._exact.get(path)) is not None:
            return exact
        # Whatever sorts between the longest matching prefix and the path starts with that prefix too, so
        # the prefix is the last entry not after the path, or one of its parents.
        node = self._nodes[bisect_right(self._prefixes, path)]
        while (parent := node.parent) is not None and not path.startswith(node.prefix):
            node = parent
        if self._regexes and not node.final:
            for search, value in self._regexes:
                if search(path):
                    return value
        return node.value


def _rule_path(url: str) -> bytes:
    try:
        path = normalise_path(url.encode("ascii"))
    except BadTarget as exc:
        raise ValueError(f"url {url!r}: {exc}") from exc
    if not path.startswith(b"/"):
        raise ValueError(f"url {url!r}: must start with `/`")
    return path
