"""Keys of the rules of one listener that need or exclude each other.

Owns:      one default per listener, targets or redirect, sessions, health check times, duplicates.
Elsewhere: where redirects lead (redirects.py); the grammar of domains and URLs (patterns.py).
Pure:      plain data in, problems out.
"""

from __future__ import annotations

from collections.abc import Iterator

from clb.config import patterns
from clb.config.checks.view import View
from clb.config.faults import Problem, quote, spell
from clb.config.rules import HashOn, HealthCheck, Passive, Pool
from clb.units import format_duration, parse_duration

_NEED_TARGETS = (
    "scheduler",
    "hash_on",
    "session",
    "health_check",
    "passive",
    "slow_start",
    "all_dead",
    "pool",
    "retry",
    "in_flight",
)
_HASHING = ("ip_hash", "maglev")


def check_rules(listener: View) -> Iterator[Problem]:
    """The rule set as a whole, then each rule."""
    rules = listener.views("rules")
    yield from check_rule_set(listener, rules)
    for rule in rules:
        yield from check_rule(rule, listener)


def check_rule_set(listener: View, rules: list[View]) -> Iterator[Problem]:
    """What the rules of a listener say together."""
    yield from _check_default(listener, rules)
    yield from _check_duplicates(rules)


def check_rule(rule: View, listener: View) -> Iterator[Problem]:
    """One rule; of the listener only its own keys are looked at."""
    yield from _check_destination(rule)
    yield from _check_session(rule, listener)
    yield from _check_health(rule.view("health_check"))
    yield from _check_passive(rule.view("passive"))
    yield from _check_slow_start(rule)
    yield from _check_hash(rule)
    yield from _check_pool(rule.view("pool"))
    yield from _check_retry(rule.view("retry"))
    yield from _check_targets(rule)


def _check_default(listener: View, rules: list[View]) -> Iterator[Problem]:
    if not rules:
        if not listener.given("rules") or listener.is_empty_list("rules"):
            yield Problem(listener.at("rules"), "no rules: every request gets 404", "key", is_warning=True)
        return
    flags = [rule.flag("default") for rule in rules]
    defaults = [rule for rule, flag in zip(rules, flags, strict=True) if flag]
    is_legible = None not in flags and len(rules) == len(listener.items("rules"))
    if not defaults and is_legible:
        message = f'none of the {len(rules)} rules has "default: true"; exactly one must'
        yield Problem(listener.at("rules"), message, "key")
    if len(defaults) > 1:
        where = ", ".join(spell(rule.path[-2:]) for rule in defaults)
        for rule in defaults[1:]:
            message = f'{len(defaults)} rules have "default: true" ({where}); exactly one must'
            yield Problem(rule.at("default"), message)


def _check_duplicates(rules: list[View]) -> Iterator[Problem]:
    first: dict[tuple[str, str], View] = {}
    for rule in rules:
        domain, url = rule.text("domain"), rule.text("url", "/")
        if domain is None or url is None:
            continue
        key = (domain if domain.startswith("~") else domain.lower(), _matcher(url))
        if key in first:
            other = first[key]
            text = f"matches the same as {spell(other.path[-2:])} ({other.text('domain')} {other.text('url', '/')})"
            yield Problem(rule.at("domain"), f"{text[:200]}; change one of them or remove it")
        first.setdefault(key, rule)


def _matcher(url: str) -> str:
    # `^~/a` and `/a` are the same prefix: they differ only in whether a regex may come before.
    return url.removeprefix("^~")


def _check_destination(rule: View) -> Iterator[Problem]:
    has_targets, has_redirect = rule.given("targets"), rule.given("redirect")
    if has_targets and has_redirect:
        yield Problem(rule.at("redirect"), "stands beside targets; a rule has one of the two", "key")
    if not has_targets and not has_redirect:
        yield Problem(rule.at("targets"), "is missing; a rule has targets or a redirect")
    if has_redirect and not has_targets:
        for key in _NEED_TARGETS:
            if rule.given(key):
                yield Problem(rule.at(key), f"means nothing in a rule that redirects; remove {key}", "key")
    if rule.is_empty_list("targets"):
        yield Problem(rule.at("targets"), "no targets: every request gets 503", is_warning=True)


def _check_session(rule: View, listener: View) -> Iterator[Problem]:
    session, scheduler = rule.view("session"), rule.text("scheduler", "wrr")
    expire = _seconds(session, "expire", 0.0)
    if expire and scheduler in ("least_conn", "p2c_ewma", "ip_hash", "maglev"):
        message = f"sessions go with scheduler wrr only, not with {scheduler}; change one of the two"
        yield Problem(session.at("expire"), message)
    if session.text("same_site") == "none" and listener.text("protocol", "https") == "http":
        yield Problem(session.at("same_site"), "none needs https: browsers drop such cookies on http")


def _check_health(health: View) -> Iterator[Problem]:
    interval = _seconds(health, "interval", HealthCheck().interval)
    timeout = _seconds(health, "timeout", HealthCheck().timeout)
    if interval is not None and timeout is not None and timeout >= interval:
        key = "timeout" if health.given("timeout") else "interval"
        message = f"timeout ({format_duration(timeout)}) must be less than interval ({format_duration(interval)})"
        yield Problem(health.at(key), message)
    if health.text("type") == "tcp":
        for key in ("path", "method", "host", "codes"):
            if health.given(key):
                yield Problem(health.at(key), f"means nothing with type: tcp; remove {key} or set type: http", "key")
    if health.is_empty_list("codes"):
        yield Problem(health.at("codes"), "is empty, so nothing would be healthy; list codes such as 2xx")


def _check_passive(passive: View) -> Iterator[Problem]:
    ejection = _seconds(passive, "ejection", Passive().ejection)
    maximum = _seconds(passive, "ejection_maximum", Passive().ejection_maximum)
    if ejection is not None and maximum is not None and ejection > maximum:
        key = "ejection" if passive.given("ejection") else "ejection_maximum"
        message = f"ejection ({format_duration(ejection)}) is more than ejection_maximum ({format_duration(maximum)})"
        yield Problem(passive.at(key), message)


def _check_slow_start(rule: View) -> Iterator[Problem]:
    scheduler = rule.text("scheduler", "wrr")
    if scheduler in _HASHING and _seconds(rule, "slow_start", 0.0):
        message = f"has no effect with scheduler {scheduler}, where a growing share would move clients again and again"
        yield Problem(rule.at("slow_start"), message, is_warning=True)


def _check_pool(pool: View) -> Iterator[Problem]:
    connections = pool.number("connections", Pool().connections)
    idle = pool.number("idle")
    if connections is not None and idle is not None and idle > connections:
        yield Problem(pool.at("idle"), f"is {idle}, more than connections ({connections})")


def _check_hash(rule: View) -> Iterator[Problem]:
    scheduler, hash_on = rule.text("scheduler", "wrr"), rule.view("hash_on")
    if rule.given("hash_on") and scheduler in ("wrr", "least_conn", "p2c_ewma", "ip_hash"):
        message = f"goes with scheduler maglev only, not with {scheduler}; change one of the two"
        yield Problem(rule.at("hash_on"), message, "key")
    given = [key for key in HashOn.model_fields if hash_on.given(key)]
    if len(given) > 1:
        yield Problem(hash_on.at(given[1]), f"stands beside {given[0]}; a request is hashed on one of them", "key")


def _check_retry(retry: View) -> Iterator[Problem]:
    if _seconds(retry, "timeout", 0.0) and "timeout" not in retry.items("on"):
        message = "means nothing unless an attempt that takes too long is followed by another: add timeout to on"
        yield Problem(retry.at("timeout"), message, "key")


def _check_targets(rule: View) -> Iterator[Problem]:
    first: dict[tuple[str, int], int] = {}
    for index, target in enumerate(rule.views("targets")):
        address, port = target.text("address"), target.number("port")
        if address is None or port is None:
            continue
        try:
            key = (patterns.host(address), port)
        except ValueError:
            continue  # said by the model
        if key in first:
            message = f"{quote(address)} port {port} is targets[{first[key]}] already; give it a weight instead"
            yield Problem(target.path, message)
        first.setdefault(key, index)


def _seconds(view: View, key: str, default: float) -> float | None:
    text = view.text(key)
    if text is None:
        return None if view.given(key) else default
    try:
        return parse_duration(text)
    except ValueError:
        return None
