"""One cookie among others; that sessions are found by it is tested with them."""

from __future__ import annotations

import pytest

from clb.balancing.cookies import cookie_value

CASES = {  # case: (header, value of the cookie `cart`)
    "alone": (b"cart=17", b"17"),
    "last": (b"a=b; cart=17", b"17"),
    "no_space": (b"a=b;cart=17;c=d", b"17"),
    "empty": (b"cart=; a=b", b""),
    "longer_name": (b"xcart=17", None),
    "in_a_value": (b"a=b cart=17", None),
    "behind_a_longer_name": (b"xcart=1; cart=2", b"2"),
    "space_first": (b" cart=17", None),
    "absent": (b"a=b", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("header", "value"), CASES.values(), ids=CASES)
def test_cookie(header: bytes, value: bytes | None) -> None:
    assert cookie_value(header, b"cart=") == value
