"""What is remembered of heads over connections, and what must not be."""

from __future__ import annotations

import pytest

from clb.http1.repeated import WITHOUT_CREDENTIALS, RepeatedHeads
from clb.http1.request import read_request_head

BLOCK = b"\r\nHost: a.example\r\nUser-Agent: monitor\r\naccept: */*\r\n\r\n"


def remember(heads: RepeatedHeads, block: bytes) -> None:
    heads.remember(block, read_request_head(b"GET / HTTP/1.1" + block, 100))


def test_remembered_by_every_byte_of_the_block() -> None:
    heads = RepeatedHeads()
    remember(heads, BLOCK)
    found = heads.find(BLOCK)
    assert found is not None
    assert found.host == b"a.example"
    for other in (BLOCK + b"x", BLOCK[:-1], BLOCK.replace(b"monitor", b"Monitor"), b"", b"\r\n"):
        assert heads.find(other) is None


SECRETS = {
    "cookie": b"Cookie: session=1",
    "authorization": b"Authorization: Basic x",
    "own_name": b"X-Api-Key: x",
    "odd_spelling": b"aCCEPT: x",
}


@pytest.mark.parametrize("line", SECRETS.values(), ids=SECRETS)
def test_what_may_be_a_secret_is_not_kept(line: bytes) -> None:
    heads = RepeatedHeads()
    block = b"\r\n" + line + BLOCK
    remember(heads, block)
    assert heads.find(block) is None


def test_no_name_that_carries_credentials_is_listed() -> None:
    for name in (b"cookie", b"authorization", b"proxy-authorization", b"x-api-key", b"referer"):
        assert name not in {known.lower() for known in WITHOUT_CREDENTIALS}


def test_bounded_in_size_and_count() -> None:
    heads = RepeatedHeads()
    longest = b"\r\nHost: a\r\nUser-Agent: %b\r\n\r\n"
    at_bound = longest % (b"x" * (1024 - len(longest) + 2))
    assert len(at_bound) == 1024
    remember(heads, at_bound)
    assert heads.find(at_bound) is not None
    over = longest % (b"x" * 1024)
    remember(heads, over)
    assert heads.find(over) is None
    blocks = [b"\r\nHost: a\r\nUser-Agent: %d\r\n\r\n" % number for number in range(256)]
    for block in blocks:
        remember(heads, block)
    # The bound was met by the last of them, which began anew.
    assert [heads.find(block) is not None for block in (at_bound, blocks[0], blocks[-1])] == [False, False, True]
