"""Cookies: what is read, what is written, and when a session holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.balancing.candidate import Candidate
from clb.balancing.stickiness import SessionPolicy

KEY = b"k" * 32


def group() -> list[Candidate[None]]:
    return [Candidate(f"10.0.0.{at}", 8080, 10, None) for at in (1, 2, 3)]


def sessions(
    members: list[Candidate[None]], *, key: bytes = KEY, secure: bool = True, same_site: str = "lax"
) -> SessionPolicy[None]:
    return SessionPolicy(b"SID", 3600.0, key, secure=secure, same_site=same_site, candidates=members)


def pair(policy: SessionPolicy[None], candidate: Candidate[None]) -> bytes:
    return policy.set_cookie(candidate).partition(b";")[0]


HEADERS = {  # case: (header with PAIR, VALUE and OTHER to fill in, whether the session is found)
    "alone": (b"PAIR", True),
    "first": (b"PAIR; a=b", True),
    "last": (b"a=b; PAIR", True),
    "middle": (b"a=b; PAIR; c=d", True),
    "no_space": (b"a=b;PAIR;c=d", True),
    "quoted": (b'SID="VALUE"', True),
    "space_behind": (b"a=b; PAIR ; c=d", True),
    "first_of_two": (b"PAIR; SID=OTHER", True),
    "first_of_two_is_unknown": (b"SID=unknown; PAIR", False),
    "first_of_two_is_empty": (b"SID=; PAIR", False),
    "behind_a_longer_name": (b"XSID=OTHER; PAIR", True),
    "behind_a_value_that_looks_like_it": (b"a=SID=OTHER; PAIR", True),
    "behind_a_value_with_a_space": (b"a=b SID=OTHER; PAIR", True),
    "absent": (b"a=b; c=d", False),
    "empty": (b"", False),
    "longer_name": (b"XPAIR", False),
    "name_behind_a_space": (b" PAIR", False),
    "other_case": (b"sid=VALUE", False),
    "value_in_another_cookie": (b"a=VALUE", False),
    "value_cut": (b"SID=VALU", False),
    "value_and_more": (b"PAIRx", False),
    "no_equals": (b"SID", False),
}


@pytest.mark.parametrize(("header", "found"), HEADERS.values(), ids=HEADERS)
def test_reading(header: bytes, found: bool) -> None:
    members = group()
    policy = sessions(members)
    wanted, other = pair(policy, members[1]), pair(policy, members[2])
    value = wanted.removeprefix(b"SID=")
    filled = header.replace(b"PAIR", wanted).replace(b"OTHER", other.removeprefix(b"SID="))
    filled = filled.replace(b"VALUE", value).replace(b"VALU", value[:-1])
    assert policy.choose(filled) is (members[1] if found else None)


@given(st.binary(max_size=60) | st.text('SID=; ab"', max_size=40).map(str.encode))
def test_any_header_is_read(header: bytes) -> None:
    assert sessions(group()).choose(header) is None


COOKIES = {
    "https": (True, "lax", b"; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"),
    "strict": (True, "strict", b"; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict"),
    "none": (True, "none", b"; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=None"),
    "http": (False, "lax", b"; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
    "none_needs_https": (False, "none", b"; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
}


@pytest.mark.parametrize(("secure", "same_site", "attributes"), COOKIES.values(), ids=COOKIES)
def test_writing(secure: bool, same_site: str, attributes: bytes) -> None:
    members = group()
    cookie = sessions(members, secure=secure, same_site=same_site).set_cookie(members[0])
    assert re.fullmatch(rb"SID=[A-Za-z0-9_-]{22}" + re.escape(attributes), cookie)


def test_the_value_is_pinned_across_releases() -> None:
    """Another derivation would end every session at an upgrade."""
    members = group()
    assert pair(sessions(members), members[0]) == b"SID=6genK4-hfbrwzyA0tpLIvQ"


def test_the_value_depends_on_key_and_identity_only() -> None:
    members, again = group(), group()
    assert pair(sessions(members), members[0]) == pair(sessions(again), again[0])
    assert pair(sessions(members), members[0]) != pair(sessions(members), members[1])
    assert pair(sessions(members), members[0]) != pair(sessions(members, key=b"other"), members[0])


def test_drained_target_keeps_its_sessions() -> None:
    members = group()
    policy = sessions(members)
    members[0].weight = 0
    policy.changed()
    assert policy.choose(pair(policy, members[0])) is members[0]


def test_unavailable_target_loses_its_sessions_until_it_is_back() -> None:
    members = group()
    policy = sessions(members)
    members[0].available = False
    policy.changed()
    assert policy.choose(pair(policy, members[0])) is None
    members[0].available = True
    policy.changed()
    assert policy.choose(pair(policy, members[0])) is members[0]


def test_all_dead_all_alive_holds_for_sessions() -> None:
    members = group()
    policy = sessions(members)
    members[2].weight = 0
    for candidate in members:
        candidate.available = False
    policy.changed()
    assert policy.choose(pair(policy, members[0])) is members[0]
    assert policy.choose(pair(policy, members[2])) is None


def test_a_target_that_left() -> None:
    members = group()
    policy = sessions(members)
    cookie = policy.set_cookie(members[0])
    policy.update(members[1:])
    assert policy.choose(cookie.partition(b";")[0]) is None
    assert policy.set_cookie(members[0]) == cookie
    assert policy.choose(pair(policy, members[1])) is members[1]
