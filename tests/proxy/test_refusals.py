"""What could be read in two ways, or is too much, is answered by clb and never reaches a real server."""

from __future__ import annotations

import json
import threading

import pytest
from live_proxy import rule
from raw_client import request
from real_server import WAIT_S, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
START = b"POST / HTTP/1.1\r\nHost: shop.example.com\r\n"

REFUSED = {  # case: (bytes, status)
    "length_and_coding": (START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two_lengths": (START + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "differing_lengths": (START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "listed_lengths": (START + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "signed_length": (START + b"Content-Length: +5\r\n\r\nhello", 400),
    "hex_length": (START + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "overflowing_length": (START + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "chunked_twice": (START + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked_in_two_fields": (
        START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked_not_last": (START + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "identity": (START + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "xchunked": (START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding_with_tab": (START + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "gzip_chunked": (START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked_in_1_0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "obs_fold": (START + b"X: a\r\n b\r\n\r\n", 400),
    "bare_cr": (START + b"X: a\rb\r\n\r\n", 400),
    "bare_lf": (START + b"X: a\nY: b\r\n\r\n", 400),
    "nul": (START + b"X: a\0b\r\n\r\n", 400),
    "space_before_colon": (START + b"Content-Length : 5\r\n\r\nhello", 400),
    "no_colon": (START + b"X\r\n\r\n", 400),
    "no_host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two_hosts": (b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", 400),
    "empty_host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "malformed_host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "host_with_user": (b"GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n", 400),
    "control_in_target": (b"GET /\x01 HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "nul_escape_in_path": (b"GET /%00 HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "above_the_root": (b"GET /a/../../b HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "fragment": (b"GET /#a HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "two_spaces": (b"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "http_0_9": (b"GET /\r\n\r\n", 400),
    "http_2_0": (b"GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", 400),
    "http_2_preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "lower_case_version": (b"GET / http/1.1\r\nHost: a.example\r\n\r\n", 400),
    "star_with_get": (b"GET * HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "unknown_method": (b"BREW / HTTP/1.1\r\nHost: a.example\r\n\r\n", 501),
    "lower_case_method": (b"get / HTTP/1.1\r\nHost: a.example\r\n\r\n", 501),
    "method_no_token": (b"G(T / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    "connect": (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405),
    "trace": (b"TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n", 405),
    "tls_to_a_clear_port": (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
}


@PROTOCOLS
@pytest.mark.parametrize(("wire", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refused_request_ends_the_connection_and_reaches_nobody(serve, real_server, protocol, wire, status):
    proxy = serve(protocol=protocol, targets=[real_server.port])
    client = proxy.connect(protocol)
    assert client.ask("/before").status == 200
    client.send(wire + request("/smuggled"))
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (status, b"close")
    assert client.read_to_end() == b""
    assert [head.split()[1] for head in real_server.heads] == [b"/before"]
    assert b"smuggled" not in real_server.conversations[0].received


BAD_BODIES = {
    "no_size": b"\r\nhello\r\n0\r\n\r\n",
    "signed_size": b"+5\r\nhello\r\n0\r\n\r\n",
    "spaced_size": b"5 \r\nhello\r\n0\r\n\r\n",
    "prefixed_size": b"0x5\r\nhello\r\n0\r\n\r\n",
    "lf_line": b"5\nhello\r\n0\r\n\r\n",
    "longer_than_said": b"5\r\nhello!\r\n0\r\n\r\n",
    "overflowing_size": b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "bare_cr_in_extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "framing_in_trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "fold_in_trailers": b"0\r\nX: a\r\n b\r\n\r\n",
    "extension_without_end": b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
}


@PROTOCOLS
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_chunk_is_400_and_its_request_stays_unfinished(serve, closing, protocol, body):
    server = closing.enter_context(RealServer(script=lambda c: c.read_to_end()))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request(method="POST", fields="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n" + body)
    client.send(request("/smuggled"))
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (400, b"close")
    assert client.read_to_end() == b""
    client.close()
    proxy.wait_until(lambda: not proxy.listener.connections)
    for conversation in server.conversations:
        assert b"\r\n0\r\n" not in conversation.received
        assert b"smuggled" not in conversation.received
    assert proxy.listener.ledger.refused == {"bad_chunk": 1}


LIMITED = {  # case: (limits, bytes, status)
    "head": ({"header_bytes": "1KiB", "uri_bytes": "64B"}, request(fields=f"X: {'y' * 1024}\r\n"), 431),
    "head_that_does_not_end": (
        {"header_bytes": "1KiB", "uri_bytes": "64B"},
        request(fields=f"X: {'y' * 1024}")[:-2],
        431,
    ),
    "fields": ({"headers": 8}, request(fields="X: y\r\n" * 8), 431),
    "target": ({"uri_bytes": "64B"}, request("/" + "x" * 64), 414),
    "target_that_does_not_end": ({"uri_bytes": "64B"}, b"GET /" + b"x" * 1000, 414),
    "body": ({"body_bytes": "10B"}, request(method="POST", body=b"x" * 11), 413),
    "announced_body": ({"body_bytes": "10B"}, request(method="POST", fields="Content-Length: 11\r\n"), 413),
    "chunked_body": (
        {"body_bytes": "10B"},
        request(method="POST", fields="Transfer-Encoding: chunked\r\n") + b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n",
        413,
    ),
}


@PROTOCOLS
@pytest.mark.parametrize(("limits", "wire", "status"), LIMITED.values(), ids=LIMITED)
def test_what_is_over_a_limit_is_answered_and_ends_the_connection(serve, real_server, protocol, limits, wire, status):
    proxy = serve(protocol=protocol, targets=[real_server.port], limits=limits)
    client = proxy.connect(protocol)
    client.send(wire)
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (status, b"close")
    assert client.read_to_end() == b""
    assert real_server.requests == []


@PROTOCOLS
def test_what_is_just_within_the_limits_is_served(serve, real_server, protocol):
    limits = {"header_bytes": "1KiB", "headers": 8, "uri_bytes": "64B", "body_bytes": "10B"}
    client = serve(protocol=protocol, targets=[real_server.port], limits=limits).connect(protocol)
    plain = request("/" + "x" * 63, "POST", "X: y\r\n" * 5 + "Z: \r\n", b"x" * 10)
    whole = plain.replace(b"Z: ", b"Z: " + b"z" * (1024 - (len(plain) - 10)))
    client.send(whole)
    assert client.read_answer().status == 200
    chunks = b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"
    client.send(request(method="POST", fields="Transfer-Encoding: chunked\r\n") + chunks)
    assert client.read_answer().status == 200


def test_the_first_of_two_pipelined_requests_is_answered_before_the_second_is_refused(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    client.send(request("/1") + b"nonsense\r\n\r\n")
    assert [client.read_answer().status for _ in range(2)] == [200, 400]
    assert client.read_to_end() == b""


def test_a_refusal_says_nothing_of_the_inside_and_carries_an_id(serve, real_server):
    proxy = serve(targets=[real_server.port])
    client = proxy.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    answer = client.read_answer()
    assert answer.one(b"content-type") == b"text/html; charset=utf-8"
    assert answer.one(b"date").endswith(b" GMT")
    assert b"Request id: <code>" in answer.body
    assert b"a b" not in answer.body


def test_an_error_is_json_for_who_asks_for_it(serve, closing, real_server):
    client = serve(rules=[rule(real_server.port, url="/known")]).connect()
    answer = client.ask("/unknown", fields="Accept: application/json\r\n")
    assert answer.status == 404
    members = json.loads(answer.body)
    assert (members["status"], members["title"]) == (404, "Not Found")
    assert client.ask("/unknown", "HEAD").status == 404
    assert client.ask("/known").status == 200


# --- the desync guard ---


def test_the_guard_reads_every_head_and_lets_good_ones_pass(serve, real_server):
    proxy = serve(targets=[real_server.port], desync_guard="enforce")
    client = proxy.connect()
    for _ in range(3):
        assert client.ask("/a", fields="Accept: */*\r\n").status == 200
    assert client.ask(method="POST", body=b"x").status == 200
    assert (proxy.listener.guard.checked, proxy.listener.guard.disagreements) == (4, 0)


def test_a_head_that_h11_reads_otherwise_is_refused_where_the_guard_enforces(serve, real_server, monkeypatch):
    monkeypatch.setattr("clb.http1.guard._difference", lambda *_: "host differs")
    proxy = serve(targets=[real_server.port], desync_guard="enforce")
    client = proxy.connect()
    assert client.ask().status == 400
    assert real_server.requests == []
    assert ("desync", "h11 reads a request differently") in [event[1:] for event in proxy.events.events]
    assert proxy.listener.ledger.refused == {"ambiguous_request": 1}


def test_the_guard_only_counts_where_it_monitors(serve, real_server, monkeypatch):
    monkeypatch.setattr("clb.http1.guard._difference", lambda *_: "host differs")
    proxy = serve(targets=[real_server.port], desync_guard="monitor")
    proxy.call(lambda: setattr(proxy.listener, "heads_to_guard", 2))
    client = proxy.connect()
    assert [client.ask().status for _ in range(3)] == [200] * 3
    assert (proxy.listener.guard.checked, proxy.listener.guard.disagreements) == (1, 1)


def test_no_guard_reads_nothing(serve, real_server):
    proxy = serve(targets=[real_server.port], desync_guard="off")
    assert proxy.connect().ask().status == 200
    assert proxy.listener.guard.checked == 0


# --- what a real server may not do ---

BAD_ANSWERS = {
    "not_http": b"hello\r\n\r\n",
    "http_0_9": b"<html>",
    "http_2_0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status_099": b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok",
    "status_999": b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok",
    "control_in_reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length_and_coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "gzip_chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked_in_1_0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "obs_fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "bare_lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "nul": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "space_before_colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "huge_head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "nothing": b"",
    "half_a_head": b"HTTP/1.1 200 OK\r\nConte",
}


@PROTOCOLS
@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_badly_framed_answer_is_502_and_its_connection_is_not_used_again(serve, closing, protocol, answer):
    server = closing.enter_context(RealServer(script=lambda c: (c.read_request(), c.send(answer))))
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    for _ in range(2):
        received = client.ask()
        assert received.status == 502
        assert b"hello" not in received.body
    assert len(server.conversations) == 2


CUT_ANSWERS = {  # case: (what comes first, what comes when the client has that)
    "short": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b""),
    "chunked_without_end": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b""),
    "bad_chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"zz\r\n"),
    "length_in_trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"0\r\nContent-Length: 1\r\n\r\n",
    ),
}


@PROTOCOLS
@pytest.mark.parametrize(("first", "then"), CUT_ANSWERS.values(), ids=CUT_ANSWERS)
def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(serve, closing, protocol, first, then):
    seen = threading.Event()

    def script(conversation):
        conversation.read_request()
        conversation.send(first)
        seen.wait(WAIT_S)
        conversation.send(then)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(seen.set)
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request())
    client.read_until(b"ab")
    seen.set()
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_until(b"an end of the answer")
    (line,) = proxy.log_lines(1)
    assert line["error_reason"] in ("upstream_closed", "bad_response")
    assert line["status"] == 200


def test_a_first_chunk_that_is_none_is_a_bad_gateway(serve, closing):
    server = closing.enter_context(RealServer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))
    proxy = serve(targets=[server.port])
    assert proxy.connect().ask().status == 502
