"""Response heads: framing, and the form in which they travel on; everything else is BadResponse."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from http1_lab import SLICES, read_response
from hypothesis import given, settings
from hypothesis import strategies as st
from message_strategies import mutated

from clb.errors import BadResponse
from clb.http1 import response as response_module
from clb.http1.request import CHUNKED
from clb.http1.response import UNTIL_CLOSE, ResponseHead, read_response_head

OK = b"HTTP/1.1 200 OK\r\n"
OLD = b"HTTP/1.0 200 OK\r\n"

ACCEPTED: dict[str, tuple[bytes, bytes, bytes, dict[str, Any]]] = {  # case: (method, head but its end, lines, facts)
    "plain": (
        b"GET",
        OK + b"Content-Length: 5\r\nServer: x\r\n",
        b"Content-Length: 5\r\nServer: x\r\n",
        {"status": 200, "content_length": 5, "is_plain": True, "keep_alive": True, "status_line": OK},
    ),
    "fields_as_they_came": (
        b"GET",
        OK + b"content-type:text/html \r\nContent-Length: 5\r\nX-Empty:\r\nX_Under: caf\xe9\r\nVia: 1.1 x\r\n",
        b"content-type:text/html \r\nContent-Length: 5\r\nX-Empty:\r\nX_Under: caf\xe9\r\nVia: 1.1 x\r\n",
        {"is_plain": True},
    ),
    "connection_keep_alive": (
        b"GET",
        OK + b"Connection: keep-alive\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\n",
        {"keep_alive": True, "is_plain": True},
    ),
    "connection_close": (
        b"GET",
        OK + b"Content-Length: 5\r\nConnection: close\r\n",
        b"Content-Length: 5\r\n",
        {"keep_alive": False, "is_plain": False},
    ),
    "connection_cut_from_the_middle": (
        b"GET",
        OK + b"X: Connection: keep-alive\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n",
        b"X: Connection: keep-alive\r\nContent-Length: 5\r\n",
        {"is_plain": True},
    ),
    "repeated_fields": (
        b"GET",
        OK + b"Content-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        b"Content-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        {"content_length": 5},
    ),
    "small_letters": (b"GET", OK + b"content-length: 5\r\n", b"Content-Length: 5\r\n", {"content_length": 5}),
    "white_space_behind_length": (
        b"GET",
        OK + b"Content-Length: 5 \r\n",
        b"Content-Length: 5\r\n",
        {"content_length": 5},
    ),
    "no_reason": (
        b"GET",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\n",
        {"status_line": OK[:13] + b"\r\n"},
    ),
    "empty_reason": (b"GET", b"HTTP/1.1 200 \r\n", b"", {"status_line": b"HTTP/1.1 200 \r\n"}),
    "long_reason": (b"GET", b"HTTP/1.1 404 Not \tFound, caf\xe9\r\n", b"", {"status": 404}),
    "status_nobody_defined": (
        b"GET",
        b"HTTP/1.1 599 x\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\n",
        {"status": 599},
    ),
    # Where the body ends (RFC 9112 section 6.3).
    "chunked": (b"GET", OK + b"Transfer-Encoding: chunked\r\n", b"", {"content_length": CHUNKED, "keep_alive": True}),
    "chunked_in_capitals": (b"GET", OK + b"transfer-encoding: CHUNKED \r\n", b"", {"content_length": CHUNKED}),
    "until_close": (b"GET", OK + b"X: y\r\n", b"X: y\r\n", {"content_length": UNTIL_CLOSE}),
    "no_fields": (b"GET", OK, b"", {"content_length": UNTIL_CLOSE}),
    "length_of_zeros": (b"GET", OK + b"Content-Length: 000\r\nConnection: close\r\n", b"Content-Length: 0\r\n", {}),
    "head_with_length": (b"HEAD", OK + b"Content-Length: 5\r\n", b"Content-Length: 5\r\n", {"content_length": 0}),
    "head_with_chunked": (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n", b"", {"content_length": 0}),
    "head_without_length": (b"HEAD", OK, b"", {"content_length": 0}),
    "not_modified": (
        b"GET",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nEtag: x\r\n",
        b"Content-Length: 5\r\nEtag: x\r\n",
        {"content_length": 0},
    ),
    "no_content": (
        b"GET",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX: y\r\n",
        b"X: y\r\n",
        {"content_length": 0},
    ),
    "no_content_chunked": (b"GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n", b"", {"content_length": 0}),
    # Interim answers (RFC 9110 section 15.2).
    "continue": (b"POST", b"HTTP/1.1 100 Continue\r\n", b"", {"status": 100, "content_length": 0}),
    "early_hints": (
        b"GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n",
        b"Link: </a>\r\n",
        {"content_length": 0},
    ),
    "websocket": (
        b"GET",
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n",
        {"is_upgrade": True, "content_length": 0},
    ),
    # Hop-by-hop fields and those that Connection names end here.
    "hop_by_hop": (
        b"GET",
        OK
        + b"Content-Length: 5\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: x\r\nUpgrade: h2c\r\n"
        + b"Proxy-Authenticate: x\r\nProxy-Authorization: x\r\nTrailer: X-Sum\r\n",
        b"Content-Length: 5\r\nTrailer: X-Sum\r\n",
        {"keep_alive": True, "is_upgrade": False},
    ),
    "named_by_connection": (
        b"GET",
        OK + b"Connection: X-Private, Content-Length\r\nContent-Length: 5\r\nX-PRIVATE: 1\r\nX: y\r\n",
        b"Content-Length: 5\r\nX: y\r\n",
        {"content_length": 5},
    ),
    # HTTP/1.0 (RFC 9112 section 9.3).
    "old": (
        b"GET",
        OLD + b"Content-Length: 5\r\n",
        b"Content-Length: 5\r\n",
        {"keep_alive": False, "minor_version": 0, "status_line": OK, "is_plain": False},
    ),
    "old_kept": (
        b"GET",
        OLD + b"Connection: Keep-Alive\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\n",
        {"keep_alive": True},
    ),
}


@pytest.mark.parametrize("slice_size", SLICES)
@pytest.mark.parametrize(("method", "head", "lines", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(method: bytes, head: bytes, lines: bytes, expected: dict[str, Any], slice_size: int) -> None:
    response = read_response(head + b"\r\n", method, slice_size)
    assert response is not None
    assert response.lines == lines
    assert {name: getattr(response, name) for name in expected} == expected


REFUSED: dict[str, bytes] = {
    # The status line (RFC 9112 section 4).
    "http_0.9": b"<html>\r\n\r\n",
    "http_0.9_spelled": b"HTTP/0.9 200 OK\r\n\r\n",
    "http_2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "rtsp": b"RTSP/1.0 200 OK\r\n\r\n",
    "ice": b"ICE/1.0 200 OK\r\n\r\n",
    "small_letters": b"http/1.1 200 OK\r\n\r\n",
    "status_099": b"HTTP/1.1 099 OK\r\n\r\n",
    "status_600": b"HTTP/1.1 600 OK\r\n\r\n",
    "status_999": b"HTTP/1.1 999 OK\r\n\r\n",
    "status_of_two_digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status_of_four_digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "two_spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "no_space_before_reason": b"HTTP/1.1 200OK\r\n\r\n",
    "control_byte_in_reason": b"HTTP/1.1 200 O\x01K\r\n\r\n",
    "nul_in_reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "carriage_return_in_reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "line_feed_behind_status_line": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "line_feeds_only": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "empty_line_first": b"\r\n\r\n",
    # Framing.
    "length_and_chunked": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked_and_length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "chunked_in_1.0": OLD + b"Transfer-Encoding: chunked\r\n\r\n",
    "gzip": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip_chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "gzip_and_chunked_in_two_fields": OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked_twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "coding_empty": OK + b"Transfer-Encoding:\r\n\r\n",
    "two_lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "the_same_length_twice": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "list_of_lengths": OK + b"Content-Length: 5, 5\r\n\r\n",
    "length_with_sign": OK + b"Content-Length: +5\r\n\r\n",
    "length_empty": OK + b"Content-Length:\r\n\r\n",
    "length_over_18_digits": OK + b"Content-Length: 1000000000000000000\r\n\r\n",
    "bad_length_in_no_content": b"HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n",
    "length_and_chunked_in_not_modified": b"HTTP/1.1 304 N\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    # Upgrades.
    "upgrade_without_upgrade": b"HTTP/1.1 101 Switching\r\n\r\n",
    "upgrade_not_named_by_connection": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    "upgrade_to_h2c": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    # Field lines.
    "obs_fold": OK + b"X: a\r\n b\r\n\r\n",
    "space_before_colon": OK + b"X : a\r\n\r\n",
    "no_colon": OK + b"X\r\n\r\n",
    "nul": OK + b"X: \0\r\n\r\n",
    "carriage_return": OK + b"X: a\rb\r\n\r\n",
    "line_feed": OK + b"X: a\nb\r\n\r\n",
    "line_feed_hides_a_field": OK + b"Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("slice_size", SLICES)
@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED)
def test_refused(head: bytes, slice_size: int) -> None:
    with pytest.raises(BadResponse):
        read_response(head, b"GET", slice_size)


def test_memo_of_status_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    memo: dict[bytes, tuple[int, int, bytes]] = {}
    monkeypatch.setattr(response_module, "_status_lines", memo)
    read_response_head(b"HTTP/1.1 200 %b\r\n\r\n" % (b"x" * 1000), b"GET")
    assert memo == {}
    for number in range(1000):
        response = read_response_head(b"HTTP/1.1 200 x%d\r\n\r\n" % number, b"GET")
        assert response.status_line == b"HTTP/1.1 200 x%d\r\n" % number
    assert len(memo) == 256
    # Met before: the same from the memo.
    assert read_response_head(b"HTTP/1.1 200 x0\r\n\r\n", b"GET").status_line == b"HTTP/1.1 200 x0\r\n"


# --- beside h11 ---

_LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5\r\n", b"content-length: 0 \r\n", b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"Connection: X-Private, upgrade\r\n", b"Upgrade: websocket\r\n", b"X-Private: a\r\n", b"Set-Cookie: a\r\n",
            b"Set-Cookie: b\r\n", b"Server:\r\n", b"Connection: keep-alive\r\n", b"Keep-Alive: timeout=5\r\n",
        ]
    ), max_size=5,
).map(b"".join)  # fmt: skip
_STATUS = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204", b"HTTP/1.1 304 N", b"HTTP/1.1 103 E"]
)
_HEADS = st.builds(lambda status, lines: b"%b\r\n%b\r\n" % (status, lines), _STATUS, _LINES)


def h11_response(head: bytes, method: bytes) -> tuple[h11.Response | h11.InformationalResponse, bytes]:
    """Return the head as h11 reads it, and the body that it finds in bytes that hold every framing."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head + b"5\r\nhello\r\n0\r\n\r\n")
    response = connection.next_event()
    body = b""
    if isinstance(response, h11.InformationalResponse):
        return response, body
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    return response, body


def body_by(response: ResponseHead) -> bytes:
    wire = b"5\r\nhello\r\n0\r\n\r\n"
    if response.content_length == CHUNKED:
        return b"hello"
    return wire if response.content_length == UNTIL_CLOSE else wire[: response.content_length]


@settings(deadline=None, max_examples=300)
@given(st.one_of(_HEADS, mutated(_HEADS)), st.sampled_from([b"GET", b"HEAD"]))
def test_what_is_accepted_h11_reads_in_the_same_way(head: bytes, method: bytes) -> None:
    try:
        response = read_response(head, method)
    except BadResponse:
        return
    if response is None or response.content_length > 15 or response.status == 101:
        return
    end = head.find(b"\r\n\r\n") + 4
    theirs, body = h11_response(head[:end], method)
    assert theirs.status_code == response.status
    if response.status >= 200:
        assert body == body_by(response)
    # And what the client gets is the same answer once more, with one framing at most.
    names = [line.partition(b":")[0].lower() for line in response.lines.split(b"\r\n")]
    assert names.count(b"content-length") <= 1
    assert b"transfer-encoding" not in names
    again = response.status_line + response.lines
    if response.content_length == CHUNKED:
        again += b"Transfer-Encoding: chunked\r\n"
    theirs_again, body_again = h11_response(again + b"\r\n", method)
    assert (theirs_again.status_code, body_again) == (theirs.status_code, body)


KEEP_ALIVES = {  # case: (fields, what the real server says of idle connections)
    "absent": (b"", 0),
    "timeout": (b"Keep-Alive: timeout=5\r\n", 5),
    "among_others": (b"Keep-Alive: max=100, timeout=15\r\n", 15),
    "no_space": (b"Keep-Alive: timeout=15,max=100\r\n", 15),
    "two_fields": (b"Keep-Alive: max=100\r\nKeep-Alive: timeout=15\r\n", 15),
    "other_case": (b"keep-alive: Timeout=15\r\n", 15),
    "longer_name": (b"Keep-Alive: xtimeout=15\r\n", 0),
    "no_number": (b"Keep-Alive: timeout=soon\r\n", 0),
    "a_number_and_more": (b"Keep-Alive: timeout=15s\r\n", 0),
    "too_long": (b"Keep-Alive: timeout=1000000\r\n", 0),
}


@pytest.mark.parametrize(("fields", "timeout_s"), KEEP_ALIVES.values(), ids=KEEP_ALIVES)
def test_what_a_real_server_says_of_idle_connections(fields, timeout_s):
    response = read_response_head(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\n" % fields, b"GET")
    assert response.idle_timeout_s == timeout_s
    assert b"keep-alive" not in response.lines.lower()
    assert response.keep_alive
