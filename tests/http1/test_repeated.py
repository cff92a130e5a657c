"""Which heads are remembered over connections, and that a remembered one means what it would if read again."""

from __future__ import annotations

import pytest

from clb.http1.repeated import RepeatedHeads
from clb.http1.request import RequestHead, read_request_head, repeat_request_head


def remembered(heads: RepeatedHeads, fields: bytes) -> RequestHead | None:
    head = b"GET /first HTTP/1.1\r\n" + fields + b"\r\n"
    block = head[head.find(b"\r\n") :]
    heads.remember(block, read_request_head(head, 100))
    return heads.find(block)


def test_a_remembered_head_serves_another_request_line() -> None:
    last = remembered(RepeatedHeads(), b"Host: shop\r\nUser-Agent: monitor\r\n")
    assert last is not None
    again = repeat_request_head(b"POST /second?x=1 HTTP/1.1", last)
    assert again is not None
    anew = read_request_head(b"POST /second?x=1 HTTP/1.1\r\nHost: shop\r\nUser-Agent: monitor\r\n\r\n", 100)
    for name in ("method", "target", "path", "host", "lines", "fields", "keep_alive", "is_plain", "content_length"):
        assert getattr(again, name) == getattr(anew, name)


@pytest.mark.parametrize("name", [b"Cookie", b"authorization", b"X-Api-Key", b"Referer", b"Anything-Else"])
def test_what_may_hold_a_credential_is_not_kept(name: bytes) -> None:
    assert remembered(RepeatedHeads(), b"Host: shop\r\n" + name + b": s3cret\r\n") is None


def test_a_long_head_is_not_kept() -> None:
    assert remembered(RepeatedHeads(), b"Host: shop\r\nAccept: " + b"a" * 2000 + b"\r\n") is None


def test_the_number_is_bounded() -> None:
    heads = RepeatedHeads()
    first = b"Host: shop\r\nAccept: first\r\n"
    assert remembered(heads, first) is not None
    for number in range(256):
        assert remembered(heads, b"Host: shop\r\nAccept: %d\r\n" % number) is not None
    assert heads.find(b"\r\n" + first + b"\r\n") is None
