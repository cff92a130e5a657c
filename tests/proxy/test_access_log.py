"""What the log says of an exchange that really took place, and that the ledger agrees with it."""

from __future__ import annotations

import pytest
from live_proxy import rule
from raw_client import request
from real_server import OK, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])


def test_a_line_tells_of_both_sides(serve, real_server):
    proxy = serve(targets=[real_server.port])
    client = proxy.connect()
    wire = request("/a?b=c", "POST", "User-Agent: test\r\nReferer: r\r\n", b"x" * 1000)
    client.send(wire)
    client.read_answer()
    (line,) = proxy.log_lines(1)
    port = client.sock.getsockname()[1]
    expected = {
        "protocol_type": "HTTPS",
        "lb_id": "lb",
        "listener": "https",
        "server_name": "shop.example.com",
        "server_addr": f"127.0.0.1:{proxy.ports['https']}",
        "remote_addr": f"127.0.0.1:{port}",
        "status": 200,
        "upstream_addr": f"127.0.0.1:{real_server.port}",
        "upstream_status": 200,
        "proxy_host": "shop.example.com/",
        "request": "POST /a?b=c HTTP/1.1",
        "request_length": len(wire),
        "bytes_sent": len(OK),
        "http_host": "shop.example.com",
        "http_user_agent": "test",
        "http_referer": "r",
        "connection_requests": 1,
        "ssl_protocol": "TLSv1.3",
        "ssl_session_reused": False,
        "uri": "/a",
        "server_protocol": "HTTP/1.1",
        "retries": 0,
    }
    assert {name: line[name] for name in expected} == expected
    assert line["ssl_cipher"].startswith("TLS_")
    assert 0 < line["handshake_in"] < line["wire_in"]
    assert 0 < line["handshake_out"] < line["wire_out"]
    times = [line[f"upstream_{name}_time"] for name in ("connect", "header", "response")]
    assert all(0 <= time <= line["request_time"] + 0.002 for time in times)


@PROTOCOLS
def test_the_ledger_agrees_with_what_was_sent_and_read(serve, real_server, protocol):
    proxy = serve(protocol=protocol, rules=[rule(real_server.port, url="/known")])
    client = proxy.connect(protocol)
    known = request("/known", "POST", body=b"x" * 100_000)
    chunked = request("/known", "PUT", "Transfer-Encoding: chunked\r\n") + b"5;e\r\nhello\r\n0\r\n\r\n"
    for wire in (known, chunked, known):
        client.send(wire)
        client.read_answer()
    unknown = request("/unknown")
    client.send(unknown)
    client.read_until(b"\r\n\r\n")
    client.end()
    client.read_to_end()
    proxy.wait_until(lambda: not proxy.listener.connections)
    lines = proxy.log_lines(4)
    assert [line["request_length"] for line in lines] == [len(known), len(chunked), len(known), len(unknown)]
    closed, rule_ = proxy.call(proxy.listener.ledger.snapshot), proxy.listener.rules[0]
    assert closed.billed_in == sum(line["request_length"] for line in lines)
    assert closed.billed_out == sum(line["bytes_sent"] for line in lines)
    assert (rule_.requests, rule_.billed_in) == (3, 2 * len(known) + len(chunked))
    assert rule_.billed_out == 3 * len(OK)
    if protocol == "http":
        assert (closed.wire_in, closed.wire_out) == (closed.billed_in, closed.billed_out)
    else:
        assert closed.wire_in == closed.handshake_in + closed.billed_in + closed.overhead_in


def test_control_bytes_do_not_make_lines(serve, real_server):
    proxy = serve(targets=[real_server.port])
    client = proxy.connect()
    client.send(b'GET / HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: a"b\\\xff\x80\tc\r\n\r\n')
    assert client.read_answer().status == 200
    (line,) = proxy.log_lines(1)
    assert line["http_user_agent"].startswith('a"b\\')
    written = proxy.call(proxy.written_log)
    assert not any(byte < 32 for byte in written[:-1])


def test_every_exchange_has_one_line_whatever_its_end(serve, closing, real_server, refused_port):
    cut = closing.enter_context(
        RealServer(script=lambda c: (c.read_head(), c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")))
    )
    rules = [
        rule(real_server.port),
        rule(refused_port(), url="/refused", default=False),
        rule(cut.port, url="/cut", default=False),
        rule(url="=/moved", default=False, redirect={"path": "/", "status": 302}),
    ]
    proxy = serve(rules=rules)
    for path in ("/", "/refused", "/moved"):
        proxy.connect().ask(path)
    client = proxy.connect()
    client.send(request("/cut"))
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_answer()
    lines = proxy.log_lines(4)
    told = [(line["status"], line["upstream_status"], line["error_reason"]) for line in lines]
    nothing = lines[2]["upstream_status"]
    assert told == [
        (200, 200, lines[0]["error_reason"]),
        (502, nothing, "dial_refused"),
        (302, nothing, lines[0]["error_reason"]),
        (200, 200, "upstream_closed"),
    ]
