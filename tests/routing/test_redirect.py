"""Where redirects lead, and where they never do."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.config.models import Redirect
from clb.errors import BadHost
from clb.routing.redirect import redirect_location, slash_location

LOCATIONS: dict[str, tuple[dict[str, Any], tuple[bytes, bytes, int | None, bytes], bytes | None]] = {
    "to_https": ({"scheme": "https"}, (b"http", b"a.example", None, b"/x?y"), b"https://a.example/x?y"),
    "to_https_drops_the_port": (
        {"scheme": "https"},
        (b"http", b"a.example", 8080, b"/x"),
        b"https://a.example/x",
    ),
    "to_https_port": (
        {"scheme": "https", "port": 8443},
        (b"http", b"a.example", 8080, b"/"),
        b"https://a.example:8443/",
    ),
    "default_port_is_not_written": (
        {"scheme": "https", "port": 443},
        (b"http", b"a.example", None, b"/"),
        b"https://a.example/",
    ),
    "to_host": ({"host": "b.example"}, (b"https", b"a.example", None, b"/x?y"), b"https://b.example/x?y"),
    "to_host_keeps_the_port": (
        {"host": "b.example"},
        (b"https", b"a.example", 8443, b"/"),
        b"https://b.example:8443/",
    ),
    "to_path": ({"path": "/new"}, (b"https", b"a.example", 8443, b"/old?y"), b"https://a.example:8443/new"),
    "to_path_with_query": (
        {"path": "/new?a=b"},
        (b"https", b"a.example", None, b"/old"),
        b"https://a.example/new?a=b",
    ),
    "path_not_kept": (
        {"host": "b.example", "keep_path": False},
        (b"https", b"a.example", None, b"/old?y"),
        b"https://b.example/",
    ),
    "ipv6": ({"scheme": "https"}, (b"http", b"[::1]", 80, b"/"), b"https://[::1]/"),
    "host_without_a_request_host": (
        {"host": "b.example"},
        (b"https", b"", None, b"/x"),
        b"https://b.example/x",
    ),
    "options_asterisk": ({"scheme": "https"}, (b"http", b"a.example", None, b"*"), b"https://a.example/"),
    "path_like_an_authority": (
        {"scheme": "https"},
        (b"http", b"a.example", None, b"//evil.example/x"),
        b"https://a.example//evil.example/x",
    ),
    "markup_in_the_rule": (
        {"path": '/<"\\'},
        (b"http", b"a.example", None, b"/"),
        b"http://a.example/%3C%22%5C",
    ),
    "onto_itself": ({"scheme": "https"}, (b"https", b"a.example", None, b"/x"), None),
    "onto_itself_by_host": ({"host": "a.example"}, (b"http", b"a.example", 80, b"/x"), None),
    "onto_itself_by_path": ({"path": "/new"}, (b"http", b"a.example", 8080, b"/new"), None),
    "not_onto_itself_by_query": (
        {"path": "/new"},
        (b"http", b"a.example", None, b"/new?x"),
        b"http://a.example/new",
    ),
}


@pytest.mark.parametrize(("rule", "request_url", "location"), LOCATIONS.values(), ids=LOCATIONS)
def test_location(
    rule: dict[str, Any], request_url: tuple[bytes, bytes, int | None, bytes], location: bytes | None
) -> None:
    assert redirect_location(Redirect(**rule), *request_url) == location


def test_slash_location() -> None:
    assert slash_location(b"https", b"a.example", 8443, b"/abc/", b"?x=1") == b"https://a.example:8443/abc/?x=1"


def test_without_any_host_there_is_no_location() -> None:
    with pytest.raises(BadHost):
        redirect_location(Redirect(scheme="https"), b"http", b"", None, b"/evil.example/")
    with pytest.raises(BadHost):
        slash_location(b"http", b"", None, b"/abc/", b"")


@given(st.binary(max_size=30))
def test_no_path_leaves_the_host_or_splits_the_header(path: bytes) -> None:
    location = redirect_location(Redirect(scheme="https"), b"http", b"a.example", None, b"/" + path)
    assert location is not None
    assert not set(location) & set(b'\r\n\0 \\"<>')
    assert urlsplit(location).netloc == b"a.example"
