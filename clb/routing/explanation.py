"""Say why a rule serves a request, and which others would have, had it not been there.

Owns:      naming the rules that were beaten, and the reason in words.
Elsewhere: the choice itself: it is asked of the same tables that the data path asks (router.py, domains.py, urls.py).
Pure:      same rules, same request, same answer; too slow for a request, meant for an operator's question.

A rule is beaten if it would serve the request when it stood alone. So each rule is put into a table of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from clb.routing.domains import DomainTable, canonical_domain
from clb.routing.router import RouteSpec
from clb.routing.urls import SlashRedirect, UrlTable

T = TypeVar("T")


class DomainForm(IntEnum):
    """The forms of a domain, the first to be asked first."""

    EXACT = 1
    LEADING_WILDCARD = 2
    TRAILING_WILDCARD = 3
    REGEX = 4

    @property
    def words(self) -> str:
        """For a sentence."""
        return ("exact domain", "leading wildcard", "trailing wildcard", "regex domain")[self - 1]


class UrlForm(IntEnum):
    """The forms of a URL; their order is not simple, see docs/routing.md."""

    EXACT = 1
    FINAL_PREFIX = 2
    REGEX = 3
    PREFIX = 4

    @property
    def words(self) -> str:
        """For a sentence."""
        return ("exact URL", "`^~` prefix", "regex", "prefix")[self - 1]


@dataclass(frozen=True, slots=True)
class Beaten(Generic[T]):
    """A rule that would serve the request if the others were not there."""

    rule: RouteSpec[T]
    why: str


@dataclass(frozen=True, slots=True)
class RouteExplanation(Generic[T]):
    """What becomes of a request, and why."""

    rule: RouteSpec[T] | None
    """The rule that serves it; None: a redirect to the slash, or 404."""
    slash: SlashRedirect | None
    """The redirect to the path with a slash."""
    domain: str | None
    """The domain whose rules were asked; None: no domain is the default."""
    is_default: bool
    """No domain matches the host, so the default's rules were asked."""
    why: str
    """One sentence."""
    beaten: tuple[Beaten[T], ...]


def domain_form(domain: str) -> DomainForm:
    """Which of the forms a rule's domain has."""
    if domain.startswith("~"):
        return DomainForm.REGEX
    if domain.startswith("*."):
        return DomainForm.LEADING_WILDCARD
    return DomainForm.TRAILING_WILDCARD if domain.endswith(".*") else DomainForm.EXACT


def url_form(url: str) -> UrlForm:
    """Which of the forms a rule's URL has."""
    if url.startswith("="):
        return UrlForm.EXACT
    if url.startswith("^~"):
        return UrlForm.FINAL_PREFIX
    return UrlForm.REGEX if url.startswith("~") else UrlForm.PREFIX


def explain_route(rules: Sequence[RouteSpec[T]], host: bytes, path: bytes) -> RouteExplanation[T]:
    """Route as `Router.route` does, and tell of it.

    Raises:
        ValueError: the rules of the domain are none that a router takes.
    """
    domain, is_default = _domain(rules, host)
    table = UrlTable((rule.url, rule) for rule in rules if canonical_domain(rule.domain) == domain)
    answer = table.match(path)
    rule = answer if isinstance(answer, RouteSpec) else None
    slash = answer if isinstance(answer, SlashRedirect) else None
    beaten = (*_beaten_domains(rules, host, path, domain, is_default), *_beaten_urls(rules, path, domain, rule))
    return RouteExplanation(rule, slash, domain, is_default, _why(rule, slash, domain, is_default), beaten)


def _domain(rules: Sequence[RouteSpec[T]], host: bytes) -> tuple[str | None, bool]:
    domains = {canonical_domain(rule.domain): canonical_domain(rule.domain) for rule in rules}
    if (domain := _look_up(DomainTable(domains), host)) is not None:
        return domain, False
    return next((canonical_domain(rule.domain) for rule in rules if rule.default), None), True


def _look_up(table: DomainTable[str], host: bytes) -> str | None:
    return table.exact.get(host) or table.search(host)


def _why(rule: RouteSpec[T] | None, slash: SlashRedirect | None, domain: str | None, is_default: bool) -> str:
    if domain is None:
        return "no domain matches the host and none is the default"
    place = f"no domain matches the host, so {domain} serves as the default" if is_default else f"{domain} is the "
    if not is_default:
        place += f"{domain_form(domain).words} that comes first for this host"
    if slash is not None:
        return f"{place}; it has no rule for this path, but a prefix rule for {slash.path.decode('ascii')}"
    if rule is None:
        return f"{place}; none of its rules is for this path"
    return f"{place}; {rule.url} is its {url_form(rule.url).words} that comes first for this path"


# --- domains ---


def _beaten_domains(
    rules: Sequence[RouteSpec[T]], host: bytes, path: bytes, winner: str | None, is_default: bool
) -> Iterator[Beaten[T]]:
    """Rules for this path in other domains that match the host."""
    if is_default or winner is None:
        return
    for rule in rules:
        domain = canonical_domain(rule.domain)
        if domain != winner and _look_up(DomainTable({domain: domain}), host) and _is_for(rule, path):
            yield Beaten(rule, _why_domain(domain_form(winner), winner, domain_form(domain)))


def _why_domain(winner: DomainForm, winner_domain: str, loser: DomainForm) -> str:
    if winner is not loser:
        return f"{winner_domain} is {_article(winner.words)}, which comes before {_article(loser.words)}"
    if winner is DomainForm.REGEX:
        return f"{winner_domain} stands earlier in the file"
    return f"{winner_domain} is the longer {winner.words}"


# --- URLs ---


def _beaten_urls(
    rules: Sequence[RouteSpec[T]], path: bytes, domain: str | None, winner: RouteSpec[T] | None
) -> Iterator[Beaten[T]]:
    """Rules of the same domain that match the path."""
    for rule in rules:
        if rule is not winner and canonical_domain(rule.domain) == domain and _is_for(rule, path):
            yield Beaten(rule, _why_url(winner, url_form(rule.url)))


def _why_url(winner: RouteSpec[T] | None, loser: UrlForm) -> str:
    if winner is None:
        return "the redirect to the path with a slash comes first, like an exact URL"
    form = url_form(winner.url)
    if form is UrlForm.EXACT:
        return f"{winner.url} is an exact URL, which comes before everything"
    if form is UrlForm.REGEX:
        if loser is UrlForm.REGEX:
            return f"{winner.url} stands earlier in the file"
        return f"{winner.url} is a regex, which comes before a prefix unless the longest one is `^~`"
    if loser is UrlForm.REGEX:
        return f"{winner.url} is the longest prefix and a `^~` one, so no regex is asked"
    return f"{winner.url} is the longer prefix"


def _is_for(rule: RouteSpec[T], path: bytes) -> bool:
    return UrlTable([(rule.url, True)]).match(path) is True


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
