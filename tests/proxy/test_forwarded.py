"""The fields that clb puts before a real server, and whom it believes about the client's address."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from clb.proxy.forwarded import (
    Networks,
    address_lines,
    connection_lines,
    contains,
    merged_address_lines,
    real_address,
)

TRUSTED: Networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

INSIDE = {
    "v4": ("10.1.2.3", True),
    "v4_outside": ("11.1.2.3", False),
    "v6": ("fd00::1", True),
    "v6_outside": ("fe80::1", False),
    "v6_with_scope": ("fd00::1%eth0", True),
    "mapped": ("::ffff:10.1.2.3", True),
    "mapped_outside": ("::ffff:11.1.2.3", False),
}


@pytest.mark.parametrize(("address", "expected"), INSIDE.values(), ids=INSIDE)
def test_contains(address: str, expected: bool) -> None:
    assert contains(TRUSTED, address) is expected


def test_no_network_contains_anything_not_even_what_is_no_address() -> None:
    assert contains((), "10.0.0.1") is False
    assert contains((), "nonsense") is False


REAL = {  # case: (X-Forwarded-For, peer, the client's address)
    "peer_not_trusted": (b"1.2.3.4", b"9.9.9.9", b"9.9.9.9"),
    "one_proxy": (b"1.2.3.4", b"10.0.0.1", b"1.2.3.4"),
    "two_proxies": (b"1.2.3.4, 10.0.0.2", b"10.0.0.1", b"1.2.3.4"),
    "what_a_client_made_up": (b"6.6.6.6, 1.2.3.4", b"10.0.0.1", b"1.2.3.4"),
    "what_a_client_made_up_behind_two": (b"6.6.6.6, 1.2.3.4, 10.0.0.2", b"10.0.0.1", b"1.2.3.4"),
    "all_trusted": (b"10.0.0.3, 10.0.0.2", b"10.0.0.1", b"10.0.0.3"),
    "no_address": (b"1.2.3.4, unknown", b"10.0.0.1", b"10.0.0.1"),
    "no_address_behind_a_proxy": (b"1.2.3.4, unknown, 10.0.0.2", b"10.0.0.1", b"10.0.0.2"),
    "not_ascii": (b"1.2.3.4, caf\xe9", b"10.0.0.1", b"10.0.0.1"),
    "with_port": (b"1.2.3.4:80", b"10.0.0.1", b"10.0.0.1"),
    "empty": (b"", b"10.0.0.1", b"10.0.0.1"),
    "empty_members": (b", ,1.2.3.4,,", b"10.0.0.1", b"1.2.3.4"),
    "v6": (b"2001:DB8::1", b"fd00::1", b"2001:db8::1"),
    "v6_in_brackets": (b"[2001:db8::1]", b"fd00::1", b"2001:db8::1"),
    "v6_behind_v4": (b"2001:db8::1, 10.0.0.9", b"fd00::1", b"2001:db8::1"),
}


@pytest.mark.parametrize(("supplied", "peer", "expected"), REAL.values(), ids=REAL)
def test_real_address(supplied: bytes, peer: bytes, expected: bytes) -> None:
    assert real_address(supplied, peer, TRUSTED) == expected


def test_real_address_believes_nobody_by_default() -> None:
    assert real_address(b"1.2.3.4", b"10.0.0.1", ()) == b"10.0.0.1"


def test_lines() -> None:
    assert connection_lines(b"https", 8443, b"X-SSL-Client-Verify: NONE\r\n") == (
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\nX-Client-Proto: https\r\nX-SSL-Client-Verify: NONE\r\n"
    )
    assert connection_lines(b"http", 80, b"") == (
        b"X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Client-Proto: http\r\n"
    )
    assert address_lines(b"1.2.3.4") == b"X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"
    assert merged_address_lines(b"6.6.6.6", b"10.0.0.1", b"6.6.6.6") == (
        b"X-Forwarded-For: 6.6.6.6, 10.0.0.1\r\nX-Real-IP: 6.6.6.6\r\n"
    )
