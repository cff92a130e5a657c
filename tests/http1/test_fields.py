"""Classes of field names, and the memo of spellings that are known to be ordinary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.http1.fields import (
    FRAMING,
    HOP_BY_HOP,
    ORDINARY_IN_REQUEST,
    ORDINARY_IN_RESPONSE,
    RESERVED,
    OrdinaryNames,
    is_reserved,
    is_special_in_request,
    is_special_in_response,
    list_members,
    serialise,
)

NAMES = {  # name: (reserved, special in a request, special in a response)
    b"accept": (False, False, False),
    b"cookie": (False, False, False),
    b"trailer": (False, False, False),
    b"x-ssl-client": (False, False, False),
    b"host": (False, True, False),
    b"expect": (False, True, False),
    b"connection": (False, True, True),
    b"keep-alive": (False, True, True),
    b"proxy-connection": (False, True, True),
    b"te": (False, True, True),
    b"upgrade": (False, True, True),
    b"content-length": (False, True, True),
    b"transfer-encoding": (False, True, True),
    b"x-forwarded-for": (True, True, False),
    b"x-request-id": (True, True, False),
    b"client-cert": (True, True, False),
    b"via": (True, True, False),
    b"x-ssl-client-": (True, True, False),
    b"x-ssl-client-verify": (True, True, False),
    b"x_forwarded_for": (True, True, False),
    b"_": (True, True, False),
}


@pytest.mark.parametrize(("name", "classes"), NAMES.items(), ids=[name.decode() for name in NAMES])
def test_classes(name: bytes, classes: tuple[bool, bool, bool]) -> None:
    assert (is_reserved(name), is_special_in_request(name), is_special_in_response(name)) == classes


def test_every_name_of_a_class_is_in_small_letters() -> None:
    for name in HOP_BY_HOP | FRAMING | RESERVED:
        assert name == name.lower()
        assert is_special_in_request(name)


SPELLINGS = st.sampled_from(
    [
        b"Accept",
        b"ACCEPT",
        b"X-A",
        b"Host",
        b"host",
        b"Connection",
        b"CONNECTION",
        b"Via",
        b"X_Y",
        b"TE",
        b"Content-Length",
    ]
)


@given(st.lists(st.sets(SPELLINGS), max_size=8))
def test_memo_answers_as_if_it_had_none(heads: list[set[bytes]]) -> None:
    memo = OrdinaryNames(is_special_in_request)
    for names in heads:
        assert memo.clears(names) == (not any(is_special_in_request(name.lower()) for name in names))


@pytest.mark.parametrize("name", [b"Via", b"via", b"X_Y", b"content-length", b"CONNECTION", b"hOST"])
def test_memos_never_learn_a_special_spelling(name: bytes) -> None:
    assert not ORDINARY_IN_REQUEST.clears([b"Accept", name])
    assert name not in ORDINARY_IN_REQUEST
    # What stood beside it was not learnt either, or was before.
    assert ORDINARY_IN_REQUEST.clears([b"Accept", b"Host", b"Connection"])
    assert not ORDINARY_IN_RESPONSE.clears([b"transfer-encoding"])
    assert ORDINARY_IN_RESPONSE.clears([b"Content-Length", b"Connection", b"Server"])


def test_memo_is_bounded_in_count_and_size() -> None:
    memo = OrdinaryNames(is_special_in_request)
    assert memo.clears([b"x" * 64, b"y" * 65])
    assert set(memo) == {b"x" * 64}
    for number in range(5000):
        assert memo.clears([b"x-%d" % number])
    assert len(memo) == 2048
    assert memo.clears([b"x-4999", b"x-1"])
    assert not memo.clears([b"x-1", b"via"])


LISTS = {
    "one": (b"close", [b"close"]),
    "several": (b"Keep-Alive,Upgrade", [b"keep-alive", b"upgrade"]),
    "white_space": (b" a \t,\tB ", [b"a", b"b"]),
    "empty_members": (b",, a,\t,", [b"a"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("value", "members"), LISTS.values(), ids=LISTS)
def test_list_members(value: bytes, members: list[bytes]) -> None:
    assert list_members(value) == members


def test_serialise() -> None:
    assert serialise([]) == b""
    assert serialise([(b"A", b"b"), (b"C", b"")]) == b"A: b\r\nC: \r\n"
