"""Priority among domains: exact, then the longest leading and trailing wildcard, then regexes."""

from __future__ import annotations

import pytest

from clb.routing.domains import DomainTable, canonical_domain

DOMAINS = DomainTable(
    {
        domain: domain
        for domain in (
            "example.com",
            "www.example.com",
            "*.example.com",
            "*.shop.example.com",
            "www.example.*",
            "www.*",
            "~^api[0-9]+\\.",
            "~second",
        )
    }
)

HOSTS = {
    "exact": (b"example.com", "example.com"),
    "exact_beats_wildcards": (b"www.example.com", "www.example.com"),
    "leading": (b"a.example.com", "*.example.com"),
    "leading_takes_several_labels": (b"a.b.example.com", "*.example.com"),
    "longest_leading": (b"a.shop.example.com", "*.shop.example.com"),
    "longest_leading_several_labels": (b"a.b.shop.example.com", "*.shop.example.com"),
    "leading_wants_a_label": (b"shop.example.com", "*.example.com"),
    "leading_wants_a_whole_label": (b"badexample.com", None),
    "trailing": (b"www.other.net", "www.*"),
    "longest_trailing": (b"www.example.net", "www.example.*"),
    "trailing_takes_several_labels": (b"www.example.co.uk", "www.example.*"),
    "trailing_wants_a_label": (b"www", None),
    "trailing_wants_a_whole_label": (b"www2.example.net", None),
    "leading_beats_trailing": (b"www.shop.example.com", "*.shop.example.com"),
    "regex": (b"api7.other.net", "~^api[0-9]+\\."),
    "first_regex": (b"api7.second.net", "~^api[0-9]+\\."),
    "regex_anywhere": (b"the.second.net", "~second"),
    "wildcard_beats_regex": (b"api7.example.com", "*.example.com"),
    "none": (b"other.net", None),
    "no_host": (b"", None),
    "ipv6": (b"[::1]", None),
}


@pytest.mark.parametrize(("host", "domain"), HOSTS.values(), ids=HOSTS)
def test_domain_of_host(host: bytes, domain: str | None) -> None:
    assert DOMAINS.exact.get(host, DOMAINS.search(host)) == domain


def test_only_the_exact_domains_are_exact() -> None:
    assert set(DOMAINS.exact) == {b"example.com", b"www.example.com"}


def test_regex_ignores_case_because_hosts_do() -> None:
    assert DomainTable({"~^Shop": 1}).search(b"shop.example.com") == 1


SPELLINGS = {
    "lower_case": ("Shop.Example.COM", "shop.example.com"),
    "trailing_dot": ("example.com.", "example.com"),
    "wildcard": ("*.Example.com", "*.example.com"),
    "regex_stays": ("~^\\D+.", "~^\\D+."),
}


@pytest.mark.parametrize(("domain", "canonical"), SPELLINGS.values(), ids=SPELLINGS)
def test_canonical_domain(domain: str, canonical: str) -> None:
    assert canonical_domain(domain) == canonical


@pytest.mark.parametrize("domain", ["", "*", "*.", ".*", "*.a.*", "a.*.b", "*a.example", "b\u00fccher.example"])
def test_refused_domain(domain: str) -> None:
    with pytest.raises(ValueError):
        DomainTable({domain: 1})
