"""Why a rule serves a request: the answer is the router's own, and every beaten rule has its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.routing.explanation import DomainForm, UrlForm, domain_form, explain_route, url_form
from clb.routing.router import Router, RouteSpec
from clb.routing.urls import SlashRedirect


def specs(*rules: str) -> list[RouteSpec[str]]:
    """`domain url`, the default marked by a trailing `!`."""
    made = []
    for rule in rules:
        domain, url = rule.removesuffix("!").split(" ")
        made.append(RouteSpec(domain, url, rule.removesuffix("!"), rule.endswith("!")))
    return made


SITE = specs(
    "shop.example.com /!",
    "shop.example.com /api",
    "shop.example.com /api/v2",
    "shop.example.com ^~/static",
    "shop.example.com ~\\.png$",
    "shop.example.com ~*\\.PNG$",
    "shop.example.com =/api/v2/exact",
    "shop.example.com /docs/",
    "*.example.com /",
    "*.shop.example.com /",
    "shop.example.* /",
    "shop.* /",
    "~^shop /",
    "~shop /",
    "other.example.org /only",
)

CASES = {  # case: (host, path, rule, words of the reason, {beaten: words of its reason})
    "longer_prefix": (
        b"shop.example.com",
        b"/api/v2/x",
        "shop.example.com /api/v2",
        "/api/v2 is its prefix that comes first",
        {"shop.example.com /api": "longer prefix", "shop.example.com /": "longer prefix"},
    ),
    "exact_url": (
        b"shop.example.com",
        b"/api/v2/exact",
        "shop.example.com =/api/v2/exact",
        "exact URL",
        {"shop.example.com /api/v2": "exact URL, which comes before everything"},
    ),
    "regex_before_prefix": (
        b"shop.example.com",
        b"/api/logo.png",
        "shop.example.com ~\\.png$",
        "regex",
        {
            "shop.example.com /api": "a regex, which comes before a prefix",
            "shop.example.com ~*\\.PNG$": "stands earlier in the file",
        },
    ),
    "final_prefix": (
        b"shop.example.com",
        b"/static/logo.png",
        "shop.example.com ^~/static",
        "`^~` prefix",
        {"shop.example.com ~\\.png$": "no regex is asked", "shop.example.com /": "longer prefix"},
    ),
    "exact_domain": (
        b"shop.example.com",
        b"/x",
        "shop.example.com /",
        "shop.example.com is the exact domain that comes first",
        {
            "*.example.com /": "an exact domain, which comes before a leading wildcard",
            "shop.example.* /": "an exact domain, which comes before a trailing wildcard",
            "~^shop /": "an exact domain, which comes before a regex domain",
        },
    ),
    "longer_leading_wildcard": (
        b"a.shop.example.com",
        b"/x",
        "*.shop.example.com /",
        "leading wildcard",
        {"*.example.com /": "*.shop.example.com is the longer leading wildcard"},
    ),
    "longer_trailing_wildcard": (
        b"shop.example.net",
        b"/x",
        "shop.example.* /",
        "trailing wildcard",
        {
            "shop.* /": "shop.example.* is the longer trailing wildcard",
            "~shop /": "a trailing wildcard, which comes before a regex domain",
        },
    ),
    "earlier_regex_domain": (
        b"shopping",
        b"/x",
        "~^shop /",
        "regex domain",
        {"~shop /": "~^shop stands earlier in the file"},
    ),
    "default": (b"nobody.test", b"/x", "shop.example.com /", "no domain matches the host, so shop.example.com", {}),
    "no_host": (b"", b"/", "shop.example.com /", "serves as the default", {}),
    "not_found": (b"other.example.org", b"/x", None, "none of its rules is for this path", {}),
}


@pytest.mark.parametrize(("host", "path", "rule", "why", "beaten"), CASES.values(), ids=CASES)
def test_explanations(host, path, rule, why, beaten):
    explanation = explain_route(SITE, host, path)
    assert (explanation.rule and explanation.rule.value) == rule
    assert why in explanation.why
    assert explanation.slash is None
    reasons = {item.rule.value: item.why for item in explanation.beaten}
    for name, words in beaten.items():
        assert words in reasons[name]


def test_a_slash_is_added_and_the_beaten_prefix_named():
    explanation = explain_route(SITE, b"shop.example.com", b"/docs")
    assert (explanation.rule, explanation.slash) == (None, SlashRedirect(b"/docs/"))
    assert "a prefix rule for /docs/" in explanation.why
    reasons = {item.rule.value: item.why for item in explanation.beaten}
    assert "redirect to the path with a slash" in reasons["shop.example.com /"]


def test_a_listener_without_a_default():
    explanation = explain_route(specs("a.test /"), b"b.test", b"/")
    assert (explanation.rule, explanation.domain, explanation.is_default) == (None, None, True)
    assert explanation.why == "no domain matches the host and none is the default"
    assert explanation.beaten == ()


def test_domains_are_compared_in_their_one_spelling():
    explanation = explain_route(specs("A.Test. /", "a.test /b"), b"a.test", b"/b")
    assert explanation.rule is not None
    assert explanation.rule.url == "/b"
    assert [item.rule.domain for item in explanation.beaten] == ["A.Test."]


def test_rules_that_no_router_takes():
    with pytest.raises(ValueError, match="rule for it already"):
        explain_route(specs("a.test /", "a.test /"), b"a.test", b"/")


FORMS = {
    "exact": ("a.test", DomainForm.EXACT),
    "leading": ("*.test", DomainForm.LEADING_WILDCARD),
    "trailing": ("a.*", DomainForm.TRAILING_WILDCARD),
    "regex": ("~a.*", DomainForm.REGEX),
}


@pytest.mark.parametrize(("domain", "form"), FORMS.values(), ids=FORMS)
def test_domain_forms(domain, form):
    assert domain_form(domain) is form


URL_FORMS = {
    "exact": ("=/a", UrlForm.EXACT),
    "final": ("^~/a", UrlForm.FINAL_PREFIX),
    "regex": ("~a", UrlForm.REGEX),
    "any_case": ("~*a", UrlForm.REGEX),
    "prefix": ("/a", UrlForm.PREFIX),
}


@pytest.mark.parametrize(("url", "form"), URL_FORMS.values(), ids=URL_FORMS)
def test_url_forms(url, form):
    assert url_form(url) is form


DOMAINS = st.sampled_from(["a.b", "b.a", "*.b", "*.a.b", "a.*", "~a", "~^b"])
URLS = st.sampled_from(["/", "/a", "/a/", "/a/b", "=/a", "^~/a/b", "~a$", "~*B"])
HOSTS = st.sampled_from([b"", b"a.b", b"b.a", b"c.a.b", b"c.b", b"a.c", b"z"])
PATHS = st.sampled_from([b"/", b"/a", b"/a/", b"/a/b", b"/a/b/a", b"/b", b"*"])


@given(st.lists(st.tuples(DOMAINS, URLS), unique=True, max_size=8), st.integers(0, 8), HOSTS, PATHS)
def test_the_answer_is_the_routers(pairs, default, host, path):
    prefixes = {(domain, url.removeprefix("^~")) for domain, url in pairs}
    rules = [RouteSpec(d, u, (d, u), n == default) for n, (d, u) in enumerate(pairs) if len(prefixes) == len(pairs)]
    explanation = explain_route(rules, host, path)
    answer = explanation.rule.value if explanation.rule is not None else explanation.slash
    assert answer == Router(rules).route(host, path)
    assert explanation.rule not in [item.rule for item in explanation.beaten]
    # Without what beat them, each of the beaten would have had a chance: it stands alone for this request.
    for item in explanation.beaten:
        alone = [RouteSpec(item.rule.domain, item.rule.url, True, explanation.is_default)]
        assert Router(alone).route(host, path) is True
