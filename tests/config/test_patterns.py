"""Domains, URLs, hosts and regular expressions: what is taken, what is refused and with which words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.config import patterns

GOOD = {
    "domain": (patterns.domain, "shop.example.com", "shop.example.com"),
    "domain_in_capitals": (patterns.domain, "Shop.Example.COM", "shop.example.com"),
    "leading_wildcard": (patterns.domain, "*.example.com", "*.example.com"),
    "trailing_wildcard": (patterns.domain, "www.example.*", "www.example.*"),
    "domain_regex": (patterns.domain, r"~^(www|shop)\.Example$", r"~^(www|shop)\.Example$"),
    "prefix": (patterns.url, "/a/b", "/a/b"),
    "directory": (patterns.url, "/a/", "/a/"),
    "root": (patterns.url, "/", "/"),
    "exact": (patterns.url, "=/a", "=/a"),
    "strong_prefix": (patterns.url, "^~/a", "^~/a"),
    "regex": (patterns.url, r"~\.(png|jpg)$", r"~\.(png|jpg)$"),
    "regex_without_case": (patterns.url, r"~*\.png$", r"~*\.png$"),
    "host_ipv4": (patterns.host, "10.0.0.5", "10.0.0.5"),
    "host_ipv6": (patterns.host, "FD00:0::5", "fd00::5"),
    "host_ipv6_in_brackets": (patterns.host, "[fd00::5]", "fd00::5"),
    "host_name": (patterns.host, "App_1.internal", "app_1.internal"),
    "host_name_short": (patterns.host, "app", "app"),
    "network": (patterns.network, "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
    "network_of_one": (patterns.network, "10.0.0.5", ipaddress.ip_network("10.0.0.5/32")),
    "path_with_query": (patterns.target_path, "/a?b=%20", "/a?b=%20"),
}
BAD = {
    "domain_empty": (patterns.domain, "", "1 to 80 characters, this one has 0"),
    "domain_long": (patterns.domain, "a" * 81, "1 to 80 characters, this one has 81"),
    "domain_star": (patterns.domain, "*", 'set "default: true" to catch all others'),
    "domain_star_inside": (patterns.domain, "a.*.b", 'has its "*" elsewhere'),
    "domain_two_stars": (patterns.domain, "*.a.*", 'has its "*" elsewhere'),
    "domain_star_in_label": (patterns.domain, "*a.b", 'has its "*" elsewhere'),
    "domain_underscore": (patterns.domain, "_a.b", "starts with an underscore"),
    "domain_url": (patterns.domain, "https://a.b", "is a URL; write the host name only"),
    "domain_port": (patterns.domain, "a.b:443", 'has a port; write "a.b"'),
    "domain_path": (patterns.domain, "a.b/c", "is not a host name"),
    "domain_space": (patterns.domain, "a b", "is not a host name"),
    "domain_empty_label": (patterns.domain, "a..b", "is not a host name"),
    "domain_dot_at_end": (patterns.domain, "a.b.", "ends with a dot"),
    "domain_not_ascii": (patterns.domain, "bücher.example", 'write "xn--bcher-kva.example"'),
    "domain_not_even_idna": (patterns.domain, "ü..x", "write its xn-- form"),
    "domain_wildcard_not_ascii": (patterns.domain, "*.bücher", '"*.bücher" is not ASCII'),
    "url_empty": (patterns.url, "", "1 to 200 characters"),
    "url_long": (patterns.url, "/" + "a" * 200, "1 to 200 characters, this one has 201"),
    "url_relative": (patterns.url, "a", 'does not start with "/"'),
    "url_absolute": (patterns.url, "http://a/b", "the host belongs into domain"),
    "url_exact_relative": (patterns.url, "=a", 'does not start with "/"'),
    "url_characters": (patterns.url, "/a b", "has characters other than"),
    "url_query": (patterns.url, "/a?b=c", "the query is not compared"),
    "url_dots": (patterns.url, "/a/../b/", 'write "/b/"'),
    "url_double_slash": (patterns.url, "//a", 'write "/a"'),
    "regex_empty": (patterns.url, "~", "it is empty"),
    "regex_broken": (patterns.url, "~(a", "missing ), unterminated subpattern at character 1"),
    "regex_not_ascii": (patterns.url, "~ä", "printable ASCII"),
    "regex_warns": (patterns.url, "~[[a]", "not a regular expression clb accepts"),
    "regex_overflow": (patterns.url, "~a{99999999999999999999}", "not a regular expression clb accepts"),
    "regex_flags": (patterns.url, "~(?u)a", "not a regular expression clb accepts"),
    "regex_nested": (patterns.url, "~(a+)+$", "could make take for ever"),
    "regex_nested_deeper": (patterns.url, "~((a*)b)*", "could make take for ever"),
    "regex_nested_bounded": (patterns.url, "~(a{1,9}){3,}", "could make take for ever"),
    "regex_repeated_branches": (patterns.url, "~(?:a|aa)*", "could make take for ever"),
    "regex_comment": (patterns.url, "~(?#[)a", "has a comment or the flag x"),
    "regex_verbose": (patterns.url, "~(?x)a#)", "has a comment or the flag x"),
    "host_bad_address": (patterns.host, "10.0.0.256", "is not an IP address"),
    "host_with_port": (patterns.host, "app:8080", "has a port"),
    "host_empty": (patterns.host, "", "is not a host name"),
    "host_long": (patterns.host, ".".join(["a" * 60] * 5), "is not a host name"),
    "address_name": (patterns.ip_address, "localhost", 'write one such as "0.0.0.0"'),
    "network_host_bits": (patterns.network, "10.0.0.5/8", "did you mean 10.0.0.0/8?"),
    "network_nonsense": (patterns.network, "lan", "is not a network"),
    "path_empty": (patterns.target_path, "", "1 to 200 characters"),
    "path_relative": (patterns.target_path, "a", 'does not start with "/"'),
    "path_of_a_host": (patterns.target_path, "//evil.example", "which a browser reads as a host"),
    "path_line_break": (patterns.target_path, "/a\r\nSet-Cookie: x", "percent-encode them"),
    "path_fragment": (patterns.target_path, "/a#b", "percent-encode them"),
}
# Groups that repeat, but of fixed length inside, or quantifiers that only look like such.
HARMLESS = ["^(www|shop)?$", "(abc)+", r"\(a+\)+", "[(+*]+", "[]+)]+", "[^]a+]*", r"[\]+]+", "(a+)b", "(?:[0-9][0-9])+"]


@pytest.mark.parametrize(("read", "text", "value"), GOOD.values(), ids=GOOD)
def test_taken(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(("read", "text", "message"), BAD.values(), ids=BAD)
def test_refused(read: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("pattern", HARMLESS)
def test_harmless_repetition(pattern: str) -> None:
    assert patterns.regular_expression(pattern).pattern == pattern


@given(st.text(alphabet="ab.*+?()[]{}|\\^$-,19:=!<>P#ix", max_size=30))
def test_a_regular_expression_compiles_or_is_refused(pattern: str) -> None:
    try:
        compiled = patterns.regular_expression(pattern)
    except ValueError:
        return
    assert isinstance(compiled, re.Pattern)


@given(st.text(max_size=250))
def test_no_text_breaks_a_grammar(text: str) -> None:
    for read in (patterns.domain, patterns.url, patterns.host, patterns.network, patterns.target_path):
        message = ""
        try:
            read(text)
        except ValueError as error:
            message = str(error)
        assert message == "" or message.isprintable()


@given(st.text(alphabet="/.ab", max_size=20))
def test_a_normal_path_stays_as_it_is(path: str) -> None:
    normal = patterns.normal_path(path)
    assert normal.startswith("/")
    assert patterns.normal_path(normal) == normal
