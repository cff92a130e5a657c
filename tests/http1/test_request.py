"""Request heads: what is accepted and in which form it travels on, and the exact error of what is not."""

from __future__ import annotations

from typing import Any

import pytest
from http1_lab import SLICES, facts, forwarded_head, read_request

from clb.errors import (
    BadFraming,
    BadHeader,
    BadHost,
    BadRequest,
    BadRequestLine,
    BadTarget,
    BadVersion,
    CodingUnknown,
    ExpectationUnknown,
    HeadTooLarge,
    MethodRefused,
    MethodUnknown,
)
from clb.http1.request import (
    CHUNKED,
    IDEMPOTENT_METHODS,
    METHODS,
    REFUSED_METHODS,
    read_request_head,
    repeat_request_head,
)

BASE = b"GET / HTTP/1.1\r\nHost: a.example\r\n"
OLD = b"GET / HTTP/1.0\r\n"

ACCEPTED: dict[
    str, tuple[bytes, bytes, dict[str, Any]]
] = {  # case: (head but for its end, lines that travel on, facts)
    "plain": (BASE, b"Host: a.example\r\n", {"host": b"a.example", "keep_alive": True, "is_plain": True}),
    "host_without_space": (b"GET / HTTP/1.1\r\nHost:a\r\n", b"Host:a\r\n", {"host": b"a", "is_plain": True}),
    "host_with_port": (
        b"GET / HTTP/1.1\r\nHost: A.Example:8443\r\n",
        b"Host: A.Example:8443\r\n",
        {"host": b"a.example", "host_field": b"A.Example:8443"},
    ),
    "host_in_another_spelling": (b"GET / HTTP/1.1\r\nhOST: a\r\n", b"Host: a\r\n", {"host": b"a", "is_plain": False}),
    "white_space_behind_host": (b"GET / HTTP/1.1\r\nHost: a \t\r\n", b"Host: a\r\n", {"host_field": b"a"}),
    "fields_as_they_came": (
        BASE + b"accept:  */* \r\nX-Empty:\r\nX-Text: caf\xe9\r\n",
        b"Host: a.example\r\naccept:  */* \r\nX-Empty:\r\nX-Text: caf\xe9\r\n",
        {"is_plain": True},
    ),
    "repeated_field_stays_twice": (
        BASE + b"Cookie: a=1\r\nCookie: b=2\r\n",
        b"Host: a.example\r\nCookie: a=1\r\nCookie: b=2\r\n",
        {"is_plain": False, "fields": {b"Host": b"a.example", b"Cookie": b"a=1"}},
    ),
    "target_with_escapes": (
        b"GET /a%20b?c=%2F HTTP/1.1\r\nHost: a\r\n",
        b"Host: a\r\n",
        {"target": b"/a%20b?c=%2F", "path": b"/a%20b"},
    ),
    # Absolute targets (RFC 9112 section 3.2.2): the authority is the host, whatever Host says.
    "absolute_target": (
        b"GET http://B.example:81/x?y HTTP/1.1\r\nHost: a.example\r\n",
        b"Host: B.example:81\r\n",
        {"target": b"/x?y", "path": b"/x", "host": b"b.example", "host_field": b"B.example:81"},
    ),
    "absolute_target_1.0_without_host": (
        b"GET http://b.example/ HTTP/1.0\r\n",
        b"Host: b.example\r\n",
        {"host": b"b.example", "minor_version": 0},
    ),
    "options_asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n", b"Host: a\r\n", {"target": b"*", "path": b"*"}),
    # Framing.
    "length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n",
        b"Host: a\r\nContent-Length: 5\r\n",
        {"content_length": 5},
    ),
    "length_zero": (
        BASE + b"Content-Length: 0\r\n",
        b"Host: a.example\r\nContent-Length: 0\r\n",
        {"content_length": 0},
    ),
    "length_with_leading_zeros": (
        BASE + b"Content-Length: 0005\r\n",
        b"Host: a.example\r\nContent-Length: 5\r\n",
        {"content_length": 5},
    ),
    "length_of_18_digits": (
        BASE + b"Content-Length: 999999999999999999\r\n",
        b"Host: a.example\r\nContent-Length: 999999999999999999\r\n",
        {"content_length": 10**18 - 1},
    ),
    "white_space_behind_length": (
        BASE + b"Content-Length: 5 \t\r\n",
        b"Host: a.example\r\nContent-Length: 5\r\n",
        {"content_length": 5},
    ),
    "chunked": (
        BASE + b"transfer-encoding: Chunked \r\n",
        b"Host: a.example\r\nTransfer-Encoding: chunked\r\n",
        {"content_length": CHUNKED},
    ),
    # Persistence (RFC 9112 section 9.3).
    "close": (BASE + b"Connection: close\r\n", b"Host: a.example\r\n", {"keep_alive": False, "is_plain": True}),
    "close_in_capitals": (BASE + b"Connection: Close\r\n", b"Host: a.example\r\n", {"keep_alive": False}),
    "close_among_others": (
        BASE + b"Connection: keep-alive\r\nConnection: x, close\r\n",
        b"Host: a.example\r\n",
        {"keep_alive": False},
    ),
    "keep_alive": (
        b"GET / HTTP/1.1\r\nConnection: keep-alive\r\nHost: a\r\nAccept: b\r\n",
        b"Host: a\r\nAccept: b\r\n",
        {"keep_alive": True, "is_plain": True},
    ),
    "keep_alive_1.0": (OLD + b"Host: a\r\nConnection: Keep-Alive\r\n", b"Host: a\r\n", {"keep_alive": True}),
    "close_is_the_rule_in_1.0": (OLD + b"Host: a\r\n", b"Host: a\r\n", {"keep_alive": False, "minor_version": 0}),
    "no_host_in_1.0": (OLD, b"Host: \r\n", {"host": b"", "host_field": b""}),
    # Hop-by-hop fields end here, and so do those that Connection names (RFC 9110 section 7.6.1).
    "hop_by_hop": (
        BASE
        + b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nProxy-Authorization: x\r\n"
        + b"Proxy-Authenticate: y\r\nUpgrade: h2c\r\nTrailer: Expires\r\n",
        b"Host: a.example\r\nTrailer: Expires\r\n",
        {},
    ),
    "named_by_connection": (
        BASE + b"Connection: X-Private , close\r\nx-private: 1\r\nX-Public: 2\r\n",
        b"Host: a.example\r\nX-Public: 2\r\n",
        {"keep_alive": False},
    ),
    "connection_cannot_name_host_or_framing": (
        BASE + b"Content-Length: 3\r\nConnection: Host, Content-Length, Transfer-Encoding\r\n",
        b"Host: a.example\r\nContent-Length: 3\r\n",
        {"content_length": 3},
    ),
    "connection_cannot_name_chunked_away": (
        BASE + b"Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n",
        b"Host: a.example\r\nTransfer-Encoding: chunked\r\n",
        {"content_length": CHUNKED},
    ),
    "connection_is_no_list": (BASE + b"Connection: ,, \t,\r\n", b"Host: a.example\r\n", {"keep_alive": True}),
    # Names that only clb may send.
    "reserved_names": (
        BASE
        + b"X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\nX-REAL-IP: 1\r\nX-Forwarded-Proto: 2\r\n"
        + b"X-Forwarded-Port: 3\r\nX-Client-Proto: 4\r\nX-Client-Proto-Ver: 5\r\nX-Client-Spdy: 6\r\nX-Stgw-Time: 7\r\n"
        + b"X-Request-ID: 8\r\nForwarded: for=9\r\nVia: 1.1 b\r\nClient-Cert: :AA==:\r\nClient-Cert-Chain: x\r\n",
        b"Host: a.example\r\n",
        {
            "supplied": {
                b"x-forwarded-for": b"1.2.3.4, 5.6.7.8",
                b"x-real-ip": b"1",
                b"x-forwarded-proto": b"2",
                b"x-forwarded-port": b"3",
                b"x-client-proto": b"4",
                b"x-client-proto-ver": b"5",
                b"x-client-spdy": b"6",
                b"x-stgw-time": b"7",
                b"x-request-id": b"8",
                b"forwarded": b"for=9",
                b"via": b"1.1 b",
                b"client-cert": b":AA==:",
                b"client-cert-chain": b"x",
            }
        },
    ),
    "client_certificate_fields": (
        BASE + b"X-SSL-Client-Verify: SUCCESS\r\nx-ssl-client-anything: x\r\n",
        b"Host: a.example\r\n",
        {},
    ),
    # WSGI and CGI fold `_` to `-`.
    "underscores": (BASE + b"X_SSL_Client_Verify: SUCCESS\r\nX_Real-IP: 1\r\na_b: c\r\n", b"Host: a.example\r\n", {}),
    "connection_cannot_name_reserved_away": (
        BASE + b"Connection: X-Forwarded-For, X-SSL-Client-Verify\r\nX-Forwarded-For: 1.2.3.4\r\n",
        b"Host: a.example\r\n",
        {"supplied": {b"x-forwarded-for": b"1.2.3.4"}},
    ),
    # Expect (RFC 9110 section 10.1.1).
    "expect": (
        BASE + b"Content-Length: 5\r\nExpect: 100-Continue\r\n",
        b"Host: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n",
        {"expects_continue": True},
    ),
    "expect_without_body": (BASE + b"Expect: 100-continue\r\n", b"Host: a.example\r\n", {"expects_continue": False}),
    "expect_in_1.0_is_ignored": (
        OLD + b"Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n",
        b"Host: a\r\nContent-Length: 5\r\n",
        {"expects_continue": False},
    ),
    # Upgrade: a WebSocket by GET without a body, or nothing.
    "websocket": (
        BASE + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n",
        b"Host: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n",
        {"upgrade": b"websocket"},
    ),
    "websocket_not_named_by_connection": (BASE + b"Upgrade: websocket\r\n", b"Host: a.example\r\n", {"upgrade": b""}),
    "websocket_by_post": (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        b"Host: a\r\n",
        {"upgrade": b""},
    ),
    "websocket_with_body": (
        BASE + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n",
        b"Host: a.example\r\nContent-Length: 4\r\n",
        {"upgrade": b"", "content_length": 4},
    ),
    "websocket_in_1.0": (
        OLD + b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        b"Host: a\r\n",
        {"upgrade": b""},
    ),
    "websocket_among_others": (
        BASE + b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        b"Host: a.example\r\n",
        {"upgrade": b""},
    ),
    "h2c": (
        BASE + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        b"Host: a.example\r\n",
        {"upgrade": b""},
    ),
    "h2c_with_body": (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 30\r\n",
        b"Host: a\r\nContent-Length: 30\r\n",
        {"upgrade": b"", "content_length": 30},
    ),
}


@pytest.mark.parametrize("slice_size", SLICES)
@pytest.mark.parametrize(("head", "lines", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(head: bytes, lines: bytes, expected: dict[str, Any], slice_size: int) -> None:
    request = read_request(head + b"\r\n", slice_size)
    assert request is not None
    assert request.lines == lines
    assert {name: getattr(request, name) for name in expected} == expected


REFUSED: dict[str, tuple[bytes, type[BadRequest]]] = {  # case: (head, error)
    # The start line (RFC 9112 section 3).
    "empty_line_first": (b"\r\n\r\n", BadRequestLine),
    "line_feed_first": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "two_spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "two_spaces_before_version": (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "space_behind_version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BadRequestLine),
    "space_before_method": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "space_in_target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "tabs": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "line_feed_behind_request_line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", BadRequestLine),
    "line_feeds_only": (b"GET / HTTP/1.1\nHost: a\n\n", BadRequestLine),
    "line_feed_in_target": (b"GET /\n HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "line_feed_in_method": (b"G\nET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "method_is_no_token": (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "no_method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BadRequestLine),
    # Methods.
    "unknown_method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", MethodUnknown),
    "method_in_small_letters": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", MethodUnknown),
    "http2_preface": (b"PRI * HTTP/2.0\r\n\r\n", BadVersion),
    "known_to_llhttp_but_of_no_use": (b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", MethodUnknown),
    "rtsp_method": (b"DESCRIBE / HTTP/1.1\r\nHost: a\r\n\r\n", MethodUnknown),
    "connect": (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", MethodRefused),
    "trace": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", MethodRefused),
    # Versions (RFC 9112 section 2.3).
    "http_0.9_spelled": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", BadVersion),
    "http_0.9": (b"GET /\r\n\r\n", BadVersion),
    "http_2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", BadVersion),
    "http_1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", BadVersion),
    "http_1.10": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", BadVersion),
    "rtsp": (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", BadVersion),
    "ice": (b"GET / ICE/1.0\r\nHost: a\r\n\r\n", BadVersion),
    "small_letters": (b"GET / http/1.1\r\nHost: a\r\n\r\n", BadVersion),
    "carriage_return_in_version": (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BadVersion),
    # Targets; tests/http1/test_target.py has them all.
    "fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "pipe": (b"GET /| HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "nul_in_target": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "carriage_return_in_target": (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "escape_not_hex": (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "userinfo": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "port_99999": (b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "asterisk_for_get": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    "authority_form": (b"GET a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    # Host (RFC 9112 section 3.2).
    "no_host": (b"GET / HTTP/1.1\r\n\r\n", BadHost),
    "no_host_but_fields": (b"GET / HTTP/1.1\r\nAccept: b\r\n\r\n", BadHost),
    "no_host_beside_absolute_target": (b"GET http://a/ HTTP/1.1\r\n\r\n", BadHost),
    "two_hosts": (BASE + b"Host: b\r\n\r\n", BadHost),
    "the_same_host_twice": (BASE + b"Host: a.example\r\n\r\n", BadHost),
    "two_hosts_in_two_spellings": (BASE + b"host: a.example\r\n\r\n", BadHost),
    "two_hosts_in_1.0": (OLD + b"Host: a\r\nHost: a\r\n\r\n", BadHost),
    "two_hosts_beside_absolute_target": (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BadHost),
    "empty_host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", BadHost),
    "host_of_spaces": (b"GET / HTTP/1.1\r\nHost:  \t\r\n\r\n", BadHost),
    "list_of_hosts": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BadHost),
    "host_with_path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadHost),
    "host_with_userinfo": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BadHost),
    "host_with_port_99999": (b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", BadHost),
    "bad_host_beside_absolute_target": (b"GET http://a/ HTTP/1.1\r\nHost: ?\r\n\r\n", BadHost),
    # Field lines (RFC 9112 section 5).
    "obs_fold": (BASE + b"X: a\r\n b\r\n\r\n", BadHeader),
    "obs_fold_by_tab": (BASE + b"X: a\r\n\tb\r\n\r\n", BadHeader),
    "obs_fold_of_nothing": (BASE + b"X:\r\n b\r\n\r\n", BadHeader),
    "fold_behind_request_line": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", BadHeader),
    "space_before_colon": (BASE + b"X : a\r\n\r\n", BadHeader),
    "tab_before_colon": (BASE + b"X\t: a\r\n\r\n", BadHeader),
    "space_before_colon_of_length": (BASE + b"Content-Length : 5\r\n\r\n", BadHeader),
    "no_colon": (BASE + b"X\r\n\r\n", BadHeader),
    "no_name": (BASE + b": a\r\n\r\n", BadHeader),
    "name_is_no_token": (BASE + b"X(: a\r\n\r\n", BadHeader),
    "name_with_obs_text": (BASE + b"X\xe9: a\r\n\r\n", BadHeader),
    "nul_in_value": (BASE + b"X: a\0b\r\n\r\n", BadHeader),
    "nul_in_name": (BASE + b"X\0: a\r\n\r\n", BadHeader),
    "control_byte_in_value": (BASE + b"X: a\x01b\r\n\r\n", BadHeader),
    "delete_in_value": (BASE + b"X: a\x7fb\r\n\r\n", BadHeader),
    "vertical_tab_in_value": (BASE + b"X: a\x0bb\r\n\r\n", BadHeader),
    "carriage_return_in_value": (BASE + b"X: a\rb\r\n\r\n", BadHeader),
    "carriage_return_at_the_end": (BASE + b"X: a\r\r\n\r\n", BadHeader),
    "carriage_return_in_name": (BASE + b"X\rY: a\r\n\r\n", BadHeader),
    "carriage_return_for_a_line": (BASE + b"\rX: a\r\n\r\n", BadHeader),
    "line_feed_in_value": (BASE + b"X: a\nb\r\n\r\n", BadHeader),
    "line_feed_as_line_end": (BASE + b"X: a\nY: b\r\n\r\n", BadHeader),
    "line_feed_as_last_line_end": (BASE + b"X: a\n\r\n\r\n", BadHeader),
    "line_feed_hides_a_field": (BASE + b"X: a\nContent-Length: 5\r\n\r\n", BadHeader),
    "empty_line_of_line_feed": (BASE + b"\nX: a\r\n\r\n", BadHeader),
    "line_feed_and_repeated_name": (BASE + b"X: a\r\nX: a\nb\r\n\r\n", BadHeader),
    # Framing (RFC 9112 section 6).
    "length_and_chunked": (BASE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BadFraming),
    "chunked_and_length": (BASE + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BadFraming),
    "chunked_and_length_zero": (BASE + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", BadFraming),
    "chunked_in_1.0": (OLD + b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", BadFraming),
    "two_lengths": (BASE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", BadFraming),
    "the_same_length_twice": (BASE + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", BadFraming),
    "two_lengths_in_two_spellings": (BASE + b"content-length: 5\r\nContent-Length: 5\r\n\r\n", BadFraming),
    "list_of_lengths": (BASE + b"Content-Length: 5, 5\r\n\r\n", BadFraming),
    "length_with_plus": (BASE + b"Content-Length: +5\r\n\r\n", BadFraming),
    "length_below_zero": (BASE + b"Content-Length: -5\r\n\r\n", BadFraming),
    "length_in_hex": (BASE + b"Content-Length: 0x5\r\n\r\n", BadFraming),
    "length_with_space": (BASE + b"Content-Length: 1 2\r\n\r\n", BadFraming),
    "length_empty": (BASE + b"Content-Length:\r\n\r\n", BadFraming),
    "length_of_spaces": (BASE + b"Content-Length:  \r\n\r\n", BadFraming),
    "length_over_18_digits": (BASE + b"Content-Length: 1000000000000000000\r\n\r\n", BadFraming),
    "length_over_64_bits": (BASE + b"Content-Length: 18446744073709551621\r\n\r\n", BadFraming),
    "coding_identity": (BASE + b"Transfer-Encoding: identity\r\n\r\n", BadFraming),
    "coding_xchunked": (BASE + b"Transfer-Encoding: xchunked\r\n\r\n", BadFraming),
    "coding_chunkedx": (BASE + b"Transfer-Encoding: chunkedx\r\n\r\n", BadFraming),
    "coding_gzip_alone": (BASE + b"Transfer-Encoding: gzip\r\n\r\n", BadFraming),
    "coding_behind_chunked": (BASE + b"Transfer-Encoding: chunked, gzip\r\n\r\n", BadFraming),
    "chunked_twice": (BASE + b"Transfer-Encoding: chunked, chunked\r\n\r\n", BadFraming),
    "chunked_in_two_fields": (BASE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", BadFraming),
    "chunked_twice_around_another": (BASE + b"Transfer-Encoding: chunked, gzip, chunked\r\n\r\n", BadFraming),
    "empty_member_before_chunked": (BASE + b"Transfer-Encoding: ,chunked\r\n\r\n", BadFraming),
    "empty_member_behind_chunked": (BASE + b"Transfer-Encoding: chunked,\r\n\r\n", BadFraming),
    "coding_empty": (BASE + b"Transfer-Encoding:\r\n\r\n", BadFraming),
    "coding_empty_beside_chunked": (BASE + b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n", BadFraming),
    "coding_quoted": (BASE + b'Transfer-Encoding: "chunked"\r\n\r\n', BadFraming),
    "coding_with_parameter": (BASE + b"Transfer-Encoding: chunked;q=1\r\n\r\n", BadFraming),
    "coding_behind_control_byte": (BASE + b"Transfer-Encoding: \x0bchunked\r\n\r\n", BadHeader),
    "another_coding_before_chunked": (BASE + b"Transfer-Encoding: gzip, chunked\r\n\r\n", CodingUnknown),
    "another_coding_in_a_field_before": (
        BASE + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        CodingUnknown,
    ),
    "another_coding_in_1.0": (OLD + b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadFraming),
    # Expect.
    "another_expectation": (BASE + b"Expect: 200-maybe\r\n\r\n", ExpectationUnknown),
    "two_expectations": (BASE + b"Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", ExpectationUnknown),
}


@pytest.mark.parametrize("slice_size", SLICES)
@pytest.mark.parametrize(("head", "error"), REFUSED.values(), ids=REFUSED)
def test_refused(head: bytes, error: type[BadRequest], slice_size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(head, slice_size)
    assert type(caught.value) is error


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_read_by_both_ways(method: bytes) -> None:
    """What llhttp did not know, the repeated head would let through and the first one would not."""
    head = method + b" / HTTP/1.1\r\nHost: a\r\n\r\n"
    request = read_request_head(head, 100)
    assert request.method == method
    again = repeat_request_head(method + b" / HTTP/1.1", request)
    assert again is not None
    assert facts(again) == facts(request)


def test_what_is_sent_twice_may_be() -> None:
    assert IDEMPOTENT_METHODS < METHODS
    assert not IDEMPOTENT_METHODS & {b"POST", b"PATCH", b"LOCK"}
    assert not METHODS & REFUSED_METHODS


# --- a head whose field lines are those of the head before ---

REPEATED: dict[str, tuple[bytes, dict[str, Any] | None]] = {
    "another_target": (b"POST /b?c HTTP/1.1", {"method": b"POST", "target": b"/b?c", "path": b"/b"}),
    "without_query": (b"HEAD /b HTTP/1.1", {"method": b"HEAD", "target": b"/b", "path": b"/b"}),
    "escapes": (b"GET /%62?%63 HTTP/1.1", {"target": b"/%62?%63", "path": b"/%62"}),
    "asterisk": (b"OPTIONS * HTTP/1.1", {"target": b"*", "path": b"*"}),
    "absolute_target": (b"GET http://b/ HTTP/1.1", None),
    "older_version": (b"GET / HTTP/1.0", None),
}


@pytest.mark.parametrize(("line", "expected"), REPEATED.values(), ids=REPEATED)
def test_repeated_fields(line: bytes, expected: dict[str, Any] | None) -> None:
    last = read_request_head(BASE + b"Accept: x\r\n\r\n", 100)
    request = repeat_request_head(line, last)
    if expected is None:
        assert request is None
        return
    assert request is not None
    assert facts(request) == facts(read_request_head(line + b"\r\nHost: a.example\r\nAccept: x\r\n\r\n", 100))
    assert {name: getattr(request, name) for name in expected} == expected


def test_repeated_fields_end_the_connection_again() -> None:
    last = read_request_head(BASE + b"Connection: close\r\n\r\n", 100)
    again = repeat_request_head(b"GET / HTTP/1.1", last)
    assert again is not None
    assert facts(again) == facts(last)


START_LINES = {name: case for name, case in REFUSED.items() if b"\r\n" in case[0] and not case[0].startswith(BASE)}


@pytest.mark.parametrize(("head", "error"), START_LINES.values(), ids=START_LINES)
def test_repeated_fields_do_not_excuse_the_request_line(head: bytes, error: type[BadRequest]) -> None:
    line = head[: head.find(b"\r\n")]
    last = read_request_head(BASE + b"\r\n", 100)
    try:
        fresh = facts(read_request_head(line + b"\r\nHost: a.example\r\n\r\n", 100))
    except BadRequest:
        with pytest.raises(BadRequest):
            repeat_request_head(line, last)
    else:
        again = repeat_request_head(line, last)
        assert again is None or facts(again) == fresh


# --- bounds ---


def many_fields(count: int, *, repeated: bool) -> bytes:
    names = [b"X-Same" if repeated else b"X-%d" % number for number in range(count - 1)]
    return BASE + b"".join(name + b": v\r\n" for name in names) + b"\r\n"


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("slice_size", SLICES)
def test_count_of_fields(slice_size: int, repeated: bool) -> None:
    assert read_request(many_fields(100, repeated=repeated), slice_size) is not None
    with pytest.raises(HeadTooLarge):
        read_request(many_fields(101, repeated=repeated), slice_size)


def test_value_looks_for_any_spelling() -> None:
    request = read_request_head(BASE + b"accept: a\r\nUser-Agent: b\r\nCOOKIE: c\r\nX-Empty:\r\n\r\n", 100)
    assert request.value(b"accept") == b"a"
    assert request.value(b"user-agent") == b"b"
    assert request.value(b"cookie") == b"c"
    assert request.value(b"x-empty") == b""
    assert request.value(b"x-none") == b""


def test_connection_is_found_in_its_own_line_only() -> None:
    """The plain case cuts the line out of the raw head; a value that looks like it must not be cut instead."""
    head = (
        b"GET / HTTP/1.1\r\nX: Connection: keep-alive\r\nHost: a\r\nConnection: keep-alive\r\nX-Connection: y\r\n\r\n"
    )
    request = read_request_head(head, 100)
    assert request.is_plain
    assert request.lines == b"X: Connection: keep-alive\r\nHost: a\r\nX-Connection: y\r\n"
    assert forwarded_head(request) == head.replace(b"\r\nConnection: keep-alive", b"")


def test_shared_default_of_supplied_is_never_written() -> None:
    read_request_head(BASE + b"Via: 1.1 x\r\n\r\n", 100)
    assert read_request_head(BASE + b"\r\n", 100).supplied == {}
