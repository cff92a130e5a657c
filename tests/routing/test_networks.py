"""Lists of networks and what they let in; what makes a source."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.routing.networks import AccessList, NetworkSet, source_network


def networks(*texts: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text) for text in texts]


ACCESS = {  # case: (allow, deny, address, whether it is let in)
    "nobody_is_named": ((), (), "192.0.2.1", True),
    "denied": ((), ("192.0.2.0/24",), "192.0.2.255", False),
    "beside_the_denied": ((), ("192.0.2.0/24",), "192.0.3.0", True),
    "allowed": (("10.0.0.0/8",), (), "10.255.0.1", True),
    "not_among_the_allowed": (("10.0.0.0/8",), (), "11.0.0.1", False),
    "deny_is_stronger": (("10.0.0.0/8",), ("10.1.0.0/16",), "10.1.2.3", False),
    "everything": (("0.0.0.0/0",), (), "203.0.113.9", True),
    "v4_lists_say_nothing_of_v6": (("10.0.0.0/8",), (), "2001:db8::1", False),
    "v6": (("2001:db8::/32",), (), "2001:db8:1::1", True),
    "v6_with_a_scope": ((), ("fe80::/10",), "fe80::1%eth0", False),
    "v4_mapped": ((), ("192.0.2.0/24",), "::ffff:192.0.2.7", False),
    "one_address": ((), ("192.0.2.7/32",), "192.0.2.7", False),
}


@pytest.mark.parametrize(("allow", "deny", "address", "is_let_in"), ACCESS.values(), ids=ACCESS)
def test_access(allow: tuple[str, ...], deny: tuple[str, ...], address: str, is_let_in: bool) -> None:
    access = AccessList(networks(*allow), networks(*deny))
    assert access.lets_in(address) is is_let_in
    assert bool(access) is bool(allow or deny)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20), st.integers(0, 2**32 - 1))
def test_a_set_says_what_all_its_networks_say(specs: list[tuple[int, int]], number: int) -> None:
    listed = [ipaddress.IPv4Network((value, prefix), strict=False) for value, prefix in specs]
    address = ipaddress.IPv4Address(number)
    assert (str(address) in NetworkSet(listed)) is any(address in network for network in listed)


SOURCES = {  # case: (two addresses, prefixes, whether they are one source)
    "same_v4": ("192.0.2.1", "192.0.2.1", (32, 64), True),
    "other_v4": ("192.0.2.1", "192.0.2.2", (32, 64), False),
    "same_24": ("192.0.2.1", "192.0.2.2", (24, 64), True),
    "same_64": ("2001:db8::1", "2001:db8::ffff", (32, 64), True),
    "other_64": ("2001:db8::1", "2001:db8:0:1::1", (32, 64), False),
    "v4_mapped": ("192.0.2.1", "::ffff:192.0.2.1", (32, 64), True),
    "v4_is_not_v6": ("0.0.0.1", "0:0:0:1::", (32, 64), False),
}


@pytest.mark.parametrize(("one", "other", "prefixes", "is_one"), SOURCES.values(), ids=SOURCES)
def test_sources(one: str, other: str, prefixes: tuple[int, int], is_one: bool) -> None:
    assert (source_network(one, *prefixes) == source_network(other, *prefixes)) is is_one
