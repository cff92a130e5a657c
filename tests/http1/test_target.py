"""Targets and hosts: what is accepted, in which parts, and the exact error of what is not."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.errors import BadHost, BadTarget
from clb.http1.target import split_host, split_target

TARGETS = {  # case: (method, target, (path, path and query, authority))
    "root": (b"GET", b"/", (b"/", b"/", None)),
    "path": (b"GET", b"/a/b.html", (b"/a/b.html", b"/a/b.html", None)),
    "query": (b"GET", b"/a?b=c", (b"/a", b"/a?b=c", None)),
    "empty_query": (b"GET", b"/a?", (b"/a", b"/a?", None)),
    "second_mark_belongs_to_query": (b"GET", b"/a?b?c/d", (b"/a", b"/a?b?c/d", None)),
    "escapes_stay": (b"GET", b"/a%20b?c=%2F", (b"/a%20b", b"/a%20b?c=%2F", None)),
    "escape_at_the_end": (b"GET", b"/%7e", (b"/%7e", b"/%7e", None)),
    "every_legal_byte": (
        b"GET",
        b"/azAZ09-._~!$&'()*+,;=:@/[]?azAZ09-._~!$&'()*+,;=:@/?[]",
        (b"/azAZ09-._~!$&'()*+,;=:@/[]", b"/azAZ09-._~!$&'()*+,;=:@/[]?azAZ09-._~!$&'()*+,;=:@/?[]", None),
    ),
    "brackets_as_browsers_send_them": (b"GET", b"/?filter[]=1", (b"/", b"/?filter[]=1", None)),
    "double_slash_is_a_path": (b"GET", b"//example.com/a", (b"//example.com/a", b"//example.com/a", None)),
    "dots_are_not_resolved_here": (b"GET", b"/a/../b", (b"/a/../b", b"/a/../b", None)),
    "absolute": (b"GET", b"http://example.com/a?b", (b"/a", b"/a?b", b"example.com")),
    "absolute_https_port": (b"GET", b"HTTPS://Example.com:8443/", (b"/", b"/", b"Example.com:8443")),
    "absolute_no_path": (b"GET", b"http://example.com", (b"/", b"/", b"example.com")),
    "absolute_query_only": (b"GET", b"http://example.com?a=b", (b"/", b"/?a=b", b"example.com")),
    "absolute_ipv6": (b"GET", b"http://[::1]:80/a", (b"/a", b"/a", b"[::1]:80")),
    "absolute_escaped": (b"GET", b"http://a.example/%41?%42", (b"/%41", b"/%41?%42", b"a.example")),
    "asterisk": (b"OPTIONS", b"*", (b"*", b"*", None)),
    "options_path": (b"OPTIONS", b"/a", (b"/a", b"/a", None)),
    "options_absolute_no_path": (b"OPTIONS", b"http://example.com", (b"*", b"*", b"example.com")),
    "options_absolute_root": (b"OPTIONS", b"http://example.com/", (b"/", b"/", b"example.com")),
    "options_absolute_query": (b"OPTIONS", b"http://example.com?a", (b"/", b"/?a", b"example.com")),
}


@pytest.mark.parametrize(("method", "target", "parts"), TARGETS.values(), ids=TARGETS)
def test_accepted_target(method: bytes, target: bytes, parts: tuple[bytes, bytes, bytes | None]) -> None:
    assert split_target(method, target) == parts


BAD_TARGETS = {
    "empty": b"",
    "no_slash": b"a/b",
    "asterisk_for_get": b"*",
    "asterisk_and_more": b"*/",
    "fragment": b"/a#b",
    "space": b"/a b",
    "tab": b"/a\tb",
    "line_feed": b"/a\n",
    "carriage_return": b"/a\rb",
    "nul": b"/a\0b",
    "delete": b"/a\x7fb",
    "obs_text": b"/caf\xc3\xa9",
    "obs_text_in_query": b"/?caf\xc3\xa9",
    "pipe": b"/a|b",
    "quote": b'/a"b',
    "less": b"/a<b",
    "greater": b"/a>b",
    "brace_open": b"/a{b",
    "brace_close": b"/a}b",
    "caret": b"/a^b",
    "backslash": b"/a\\b",
    "backtick": b"/a`b",
    "pipe_in_query": b"/a?b|c",
    "backslash_in_query": b"/a?b\\c",
    "escape_not_hex": b"/a%zz",
    "escape_half_hex": b"/a%2g",
    "escape_cut_short": b"/a%2",
    "escape_alone": b"/a%",
    "escape_broken_before_query": b"/a%2?b",
    "escape_not_hex_in_query": b"/a?b=%zz",
    "userinfo": b"http://user@example.com/",
    "userinfo_password": b"http://user:secret@example.com/",
    "other_scheme": b"ftp://example.com/",
    "no_scheme": b"://example.com/",
    "scheme_without_authority": b"http:/a",
    "empty_authority": b"http:///a",
    "port_too_high": b"http://example.com:99999/",
    "authority_form": b"example.com:443",
    "absolute_fragment": b"http://example.com/a#b",
    "absolute_fragment_no_path": b"http://example.com#b",
    "absolute_bad_path": b"http://example.com/a b",
    "absolute_bad_escape": b"http://example.com/%zz",
    "absolute_backslash": b"http://example.com\\@other.example/",
}


@pytest.mark.parametrize("target", BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_refused_target(target: bytes) -> None:
    with pytest.raises(BadTarget):
        split_target(b"GET", target)


def test_log_text_of_a_refused_target_is_bounded_and_escaped() -> None:
    with pytest.raises(BadTarget) as caught:
        split_target(b"GET", b"/\r\n" + b"a" * 10_000)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@given(st.binary(max_size=40) | st.from_regex(rb"[/%a-f0-9?#.\[\]\x00 ]{1,20}", fullmatch=True))
def test_any_target_is_split_or_refused(target: bytes) -> None:
    with suppress(BadTarget):
        path, forwarded, authority = split_target(b"GET", target)
        assert path.startswith(b"/")
        assert forwarded.startswith(path)
        assert b"?" not in path
        assert forwarded[len(path) : len(path) + 1] in (b"", b"?")
        assert re.fullmatch(rb"(?:[!-\x24&-~]|%[0-9A-Fa-f]{2})+", forwarded)
        assert not set(forwarded) & set(b'#|"<>{}^\\`')
        assert authority is not None or forwarded == target


HOSTS = {  # case: (raw, (host, port))
    "name": (b"example.com", (b"example.com", None)),
    "name_and_port": (b"example.com:8443", (b"example.com", 8443)),
    "lower_cased": (b"Shop.EXAMPLE.com", (b"shop.example.com", None)),
    "trailing_dot": (b"example.com.", (b"example.com", None)),
    "trailing_dot_and_port": (b"example.com.:80", (b"example.com", 80)),
    "single_label": (b"localhost", (b"localhost", None)),
    "underscore": (b"my_app.internal", (b"my_app.internal", None)),
    "hyphens": (b"a--b.-c-.example", (b"a--b.-c-.example", None)),
    "empty_port_is_none": (b"example.com:", (b"example.com", None)),
    "port_zero": (b"example.com:0", (b"example.com", 0)),
    "highest_port": (b"example.com:65535", (b"example.com", 65535)),
    "ipv4": (b"10.0.0.5:80", (b"10.0.0.5", 80)),
    "digits_in_a_name": (b"10.0.0.5.example", (b"10.0.0.5.example", None)),
    "hex_like_name": (b"0xcafe.example", (b"0xcafe.example", None)),
    "ipv6": (b"[2001:db8::1]", (b"[2001:db8::1]", None)),
    "ipv6_port": (b"[::1]:8443", (b"[::1]", 8443)),
    "ipv6_one_spelling": (b"[2001:0DB8:0:0:0:0:0:1]", (b"[2001:db8::1]", None)),
    "ipv6_with_ipv4_tail": (b"[64:ff9b::10.0.0.5]", (b"[64:ff9b::a00:5]", None)),
    "longest": (b"a" * 255, (b"a" * 255, None)),
    "longest_with_dot_and_port": (b"a" * 255 + b".:65535", (b"a" * 255, 65535)),
}


@pytest.mark.parametrize(("raw", "parts"), HOSTS.values(), ids=HOSTS)
def test_accepted_host(raw: bytes, parts: tuple[bytes, int | None]) -> None:
    assert split_host(raw) == parts


BAD_HOSTS = {
    "empty": b"",
    "dot": b".",
    "port_only": b":80",
    "leading_dot": b".example.com",
    "empty_label": b"a..b",
    "two_trailing_dots": b"a..",
    "too_long": b"a" * 256,
    "userinfo": b"user@example.com",
    "space": b"exa mple.com",
    "leading_space": b" example.com",
    "control": b"example.com\0",
    "line_feed": b"example.com\n",
    "obs_text": "bücher.example".encode(),
    "escaped": b"ex%61mple.com",
    "path": b"example.com/a",
    "two_hosts": b"a.example,b.example",
    "star": b"*.example.com",
    "port_too_high": b"example.com:65536",
    "port_signed": b"example.com:+80",
    "port_leading_zero": b"example.com:080",
    "port_not_digits": b"example.com:http",
    "port_too_long": b"example.com:100000",
    "two_ports": b"example.com:80:80",
    "ipv4_octet_too_high": b"10.0.0.256",
    "ipv4_leading_zero": b"010.0.0.1",
    "ipv4_short": b"127.1",
    "ipv4_one_number": b"2130706433",
    "ipv4_hex": b"0x7f000001",
    "ipv4_hex_upper": b"0X7F.0.0.0X1",
    "ipv4_hex_tail": b"127.0.0.0x1",
    "ipv4_five_octets": b"1.2.3.4.5",
    "ipv6_without_brackets": b"::1",
    "ipv6_open": b"[::1",
    "ipv6_empty": b"[]",
    "ipv6_zone": b"[fe80::1%25eth0]",
    "ipv6_two_gaps": b"[1::2::3]",
    "ipv6_too_short": b"[1:2]",
    "ip_future": b"[v1.a]",
    "ipv6_and_name": b"[::1]example",
}


@pytest.mark.parametrize("raw", BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_refused_host(raw: bytes) -> None:
    with pytest.raises(BadHost):
        split_host(raw)


@given(st.binary(max_size=30) | st.from_regex(rb"[a-z0-9.:\[\]_-]{1,20}(?::[0-9]{0,6})?", fullmatch=True))
def test_any_host_has_one_spelling_or_is_refused(raw: bytes) -> None:
    with suppress(BadHost):
        host, port = split_host(raw)
        assert host == host.lower()
        assert 0 < len(host) <= 255
        assert port is None or 0 <= port <= 65535
        assert split_host(host) == (host, None)
