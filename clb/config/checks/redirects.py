"""No redirect leads to a rule of this node that redirects again.

Owns:      finding chains and loops among redirects.
Elsewhere: the real matching of requests (routing/), which a layer below it cannot use. Here one sample
           request per redirect is enough, by the model's priorities: domain first, then URL.
Pure:      plain data in, problems out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from clb.config import patterns
from clb.config.checks.regions import node_regions, regions_of
from clb.config.checks.view import View
from clb.config.faults import Problem, spell

_SAMPLE = "clb-sample"
_PORTS = {"https": 443, "http": 80}


@dataclass(slots=True)
class _Urls:
    """The rules of one domain."""

    exact: dict[str, View] = field(default_factory=dict)
    prefixes: dict[str, View] = field(default_factory=dict)
    expressions: list[tuple[re.Pattern[str], View]] = field(default_factory=list)

    def add(self, url: str, rule: View) -> None:
        if url.startswith("="):
            self.exact.setdefault(url[1:], rule)
        elif url.startswith("~"):
            flags = re.IGNORECASE if url.startswith("~*") else re.NOFLAG
            pattern = _compiled(url.removeprefix("~").removeprefix("*"), flags)
            self.expressions.extend([(pattern, rule)] if pattern else [])
        else:
            self.prefixes.setdefault(url.removeprefix("^~"), rule)

    def match(self, path: str) -> View | None:
        if path in self.exact:
            return self.exact[path]
        for pattern, rule in self.expressions:
            if pattern.search(path):
                return rule
        lengths = range(len(path), 0, -1)
        return next((self.prefixes[path[:n]] for n in lengths if path[:n] in self.prefixes), None)


@dataclass(slots=True)
class _Door:
    """Protocol and port, with the rules of all listeners behind it."""

    domains: dict[str, _Urls] = field(default_factory=dict)
    expressions: list[tuple[re.Pattern[str], _Urls]] = field(default_factory=list)
    default: _Urls | None = None
    """Of the domain that stands for all others."""

    def add(self, rule: View) -> None:
        domain, url = rule.text("domain"), rule.text("url", "/")
        if domain is None or url is None:
            return
        domain = domain if domain.startswith("~") else domain.lower()
        is_new = domain not in self.domains
        urls = self.domains.setdefault(domain, _Urls())
        urls.add(url, rule)
        if rule.flag("default"):
            self.default = urls
        if is_new and domain.startswith("~") and (pattern := _compiled(domain[1:])):
            self.expressions.append((pattern, urls))

    def match(self, host: str, path: str, *, or_default: bool) -> View | None:
        """The rule for the request; whether the default counts is the caller's to decide."""
        urls = next((self.domains[key] for key in _spellings(host) if key in self.domains), None)
        if urls is None:
            urls = next((urls for pattern, urls in self.expressions if pattern.search(host)), None)
        if urls is None and or_default:
            urls = self.default
        return urls.match(path) if urls else None


def check_redirects(root: View) -> Iterator[Problem]:
    """Each redirect is followed one step, on the listeners of its own region."""
    here = node_regions(root)
    regions: dict[str, list[View]] = {}
    for balancer in root.views("load_balancers"):
        for region in sorted(regions_of(balancer, here)):
            regions.setdefault(region, []).extend(balancer.views("listeners"))
    seen: set[tuple[str | int, ...]] = set()
    for listeners in regions.values():
        for problem in _check_region(listeners):
            if problem.path not in seen:
                seen.add(problem.path)
                yield problem


def _check_region(listeners: list[View]) -> Iterator[Problem]:
    doors: dict[tuple[str | None, int | None], _Door] = {}
    for listener in listeners:
        door = doors.setdefault((listener.text("protocol", "https"), listener.number("port", 443)), _Door())
        for rule in listener.views("rules"):
            door.add(rule)
    for listener in listeners:
        for rule in listener.views("rules"):
            if rule.given("redirect"):
                yield from _follow(rule, listener, doors)


def _follow(rule: View, listener: View, doors: dict[tuple[str | None, int | None], _Door]) -> Iterator[Problem]:
    redirect = rule.view("redirect")
    if not any(redirect.given(key) for key in ("scheme", "host", "port", "path")):
        yield Problem(redirect.path, "leads nowhere; give scheme, host, port or path", "key")
        return
    scheme = redirect.text("scheme", listener.text("protocol", "https"))
    own_port = _PORTS.get(scheme or "") if redirect.given("scheme") else listener.number("port", 443)
    door, path = doors.get((scheme, redirect.number("port", own_port))), _path(rule)
    if door is None or path is None:
        return
    for host in _hosts(rule):
        # A host that was written out and that no rule names most likely lives on another machine.
        reached = door.match(host, path, or_default=not redirect.given("host"))
        if reached is not None and reached.given("redirect"):
            yield Problem(redirect.path, _message(rule, reached, f"{scheme}://{host}{path}"), "key")
            return


def _message(rule: View, reached: View, destination: str) -> str:
    if reached.path == rule.path:
        return f"leads back to itself ({destination}), a loop; change its host, port or path"
    return (
        f"leads to {destination}, which {spell(reached.path)} redirects on; "
        "send the client to the last destination at once"
    )


def _hosts(rule: View) -> list[str]:
    """Hosts that requests of this redirect arrive at."""
    domain = rule.view("redirect").text("host") or rule.text("domain") or "~"
    hosts = [] if domain.startswith("~") else [domain.lower().replace("*", _SAMPLE)]
    if rule.flag("default") and not rule.view("redirect").given("host"):
        hosts.append(f"{_SAMPLE}.invalid")
    return hosts


def _path(rule: View) -> str | None:
    """A path that requests of this redirect arrive at; None if only a regular expression knows."""
    redirect, url = rule.view("redirect"), rule.text("url", "/") or "/"
    if (path := redirect.text("path")) is not None:
        return patterns.normal_path(path.partition("?")[0])
    if not redirect.flag("keep_path", True):
        return "/"
    return None if url.startswith("~") else patterns.plain_path(url)


def _spellings(host: str) -> Iterator[str]:
    """The domains that match a host, by priority: itself, the longest `*.tail`, the longest `head.*`."""
    labels = host.split(".")
    yield host
    yield from (f"*.{'.'.join(labels[index:])}" for index in range(1, len(labels)))
    yield from (f"{'.'.join(labels[:index])}.*" for index in range(len(labels) - 1, 0, -1))


def _compiled(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str] | None:
    try:
        patterns.regular_expression(pattern)
    except ValueError:
        return None  # said by the model
    return re.compile(pattern, re.ASCII | flags)
