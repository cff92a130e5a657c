"""Priority among the URLs of one domain, the trailing slash, and the longest prefix against a plain `max`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.routing.urls import SlashRedirect, UrlTable


def table(*urls: str) -> UrlTable[str]:
    return UrlTable([(url, url) for url in urls])


SHOP = table("/", "=/exact", "/exact", "/api", "/api/v2", "^~/static", "/docs/", "~\\.png$", "~*\\.JPG$", "~^/api/v2/x")
BARE = table("/abc", "~^/r", "~*^/R2")
SLASH = table("/", "/abc/", "^~/down/", "/both", "/both/", "/named/", "=/named", "/a/b/", "~^/abc")

MATCHES = {
    "catch_all": (SHOP, b"/", "/"),
    "catch_all_below": (SHOP, b"/other", "/"),
    "exact": (SHOP, b"/exact", "=/exact"),
    "exact_is_the_whole_path": (SHOP, b"/exact/", "/exact"),
    "prefix": (SHOP, b"/api", "/api"),
    "prefix_with_slash": (SHOP, b"/api/", "/api"),
    "prefix_is_a_string_prefix": (SHOP, b"/apiary", "/api"),
    "longest_prefix": (SHOP, b"/api/v2/users", "/api/v2"),
    "prefix_between_two": (SHOP, b"/api/v1", "/api"),
    "shorter_than_a_prefix": (SHOP, b"/ap", "/"),
    "case_matters": (SHOP, b"/API", "/"),
    "regex_beats_prefix": (SHOP, b"/api/logo.png", "~\\.png$"),
    "regex_beats_catch_all": (SHOP, b"/logo.png", "~\\.png$"),
    "regex_case_matters": (SHOP, b"/logo.PNG", "/"),
    "regex_any_case": (SHOP, b"/logo.jpg", "~*\\.JPG$"),
    "first_regex": (SHOP, b"/api/v2/x.png", "~\\.png$"),
    "later_regex": (SHOP, b"/api/v2/x", "~^/api/v2/x"),
    "final_prefix_beats_regex": (SHOP, b"/static/logo.png", "^~/static"),
    "no_catch_all": (BARE, b"/", None),
    "no_catch_all_prefix": (BARE, b"/abcd", "/abc"),
    "regex_without_a_prefix": (BARE, b"/r1", "~^/r"),
    "first_regex_wins_over_later": (BARE, b"/r2", "~^/r"),
    "any_case_regex_alone": (BARE, b"/R2", "~*^/R2"),
    "asterisk_form_has_no_prefix": (BARE, b"*", None),
    "slash_added": (table("/", "/abc/"), b"/abc", SlashRedirect(b"/abc/")),
    "slash_added_without_catch_all": (table("/abc/"), b"/abc", SlashRedirect(b"/abc/")),
    "slash_added_before_regex": (SLASH, b"/abc", SlashRedirect(b"/abc/")),
    "slash_added_final": (SLASH, b"/down", SlashRedirect(b"/down/")),
    "slash_added_deeper": (SLASH, b"/a/b", SlashRedirect(b"/a/b/")),
    "slash_there": (table("/", "/abc/"), b"/abc/", "/abc/"),
    "slash_below": (table("/", "/abc/"), b"/abc/d", "/abc/"),
    "slash_not_for_a_longer_name": (table("/", "/abc/"), b"/abcd", "/"),
    "slash_not_if_a_prefix_names_it": (SLASH, b"/both", "/both"),
    "slash_not_if_an_exact_names_it": (SLASH, b"/named", "=/named"),
    "slash_not_for_an_exact_rule": (table("/", "=/abc/"), b"/abc", "/"),
    "rule_is_normalised": (table("/a//b/../%63"), b"/a/c", "/a//b/../%63"),
}


@pytest.mark.parametrize(("urls", "path", "expected"), MATCHES.values(), ids=MATCHES)
def test_match(urls: UrlTable[str], path: bytes, expected: object) -> None:
    assert urls.match(path) == expected


BAD_RULES = {
    "prefix_twice": ["/a", "/a"],
    "prefix_and_final_prefix": ["/a", "^~/a"],
    "exact_twice": ["=/a", "=/a"],
    "same_after_normalising": ["/a/b", "/a//b"],
    "no_slash": ["a"],
    "empty": [""],
    "broken_escape": ["/%zz"],
    "above_the_root": ["/../a"],
    "not_ascii": ["/caf\u00e9"],
}


@pytest.mark.parametrize("urls", BAD_RULES.values(), ids=BAD_RULES)
def test_refused_rules(urls: list[str]) -> None:
    with pytest.raises(ValueError):
        table(*urls)


PIECES = st.lists(st.sampled_from(["/", "a", "b", "/a"]), max_size=6).map(lambda parts: "/" + "".join(parts))


@given(st.sets(PIECES.filter(lambda p: ("//" not in p and not p.endswith("/")) or p == "/")), PIECES)
def test_longest_prefix_wins(prefixes: set[str], path: str) -> None:
    expected = max((p for p in prefixes if path.startswith(p)), key=len, default=None)
    assert table(*prefixes).match(path.encode()) == expected
