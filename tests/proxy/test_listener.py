"""What happens before the first request: admission, PROXY headers, handshakes good and bad, and the end by drain."""

from __future__ import annotations

import ssl
import struct
import threading

import pytest
from raw_client import Client, request
from real_server import OK, WAIT_S, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
TRUSTED = {"from": ["127.0.0.0/8"]}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


# --- handshakes ---


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_a_session_is_resumed(serve, real_server, material, version):
    proxy = serve(targets=[real_server.port])
    context = material.client_context(version=version)
    first = proxy.connect(context=context)
    first.ask()
    second = proxy.connect(context=context, session=first.tls.session)
    second.ask()
    assert second.tls.session_reused
    assert (proxy.listener.ledger.handshakes_full, proxy.listener.ledger.handshakes_resumed) == (1, 1)
    assert [line["ssl_session_reused"] for line in proxy.log_lines(2)] == [False, True]


def test_a_request_may_ride_with_the_last_flight_of_the_handshake(serve, real_server, material):
    proxy = serve(targets=[real_server.port])
    client = Client(proxy.ports["https"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = material.client_context().wrap_bio(incoming, outgoing, server_hostname="shop.example.com")
    with client, pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client = proxy.connect(context=None)
    client.sock.sendall(outgoing.read())
    while True:
        incoming.write(client.sock.recv(65536))
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
    tls.write(request())
    client.sock.sendall(outgoing.read())
    real_server.wait_for(lambda: len(real_server.requests) == 1)


def test_http_on_the_tls_port_is_answered_in_http(serve, real_server):
    proxy = serve(targets=[real_server.port])
    client = proxy.connect(context=None)
    client.send(request())
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (400, b"close")
    assert client.read_to_end() == b""
    assert proxy.listener.ledger.handshakes_failed == {"plain_http": 1}
    assert real_server.requests == []


NOT_TLS = {
    "bytes": (b"\x00\x01\x02\x03\x04\x05", "not_tls"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
    "proxy_header": (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "proxy_header"),
    "broken_hello": (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "protocol_error"),
}


@pytest.mark.parametrize(("sent", "reason"), NOT_TLS.values(), ids=NOT_TLS)
def test_what_is_no_handshake_is_dropped_and_counted(serve, real_server, sent, reason):
    proxy = serve(targets=[real_server.port], timeouts={"linger": "100ms"})
    client = proxy.connect(context=None)
    client.send(sent)
    while client.sock.recv(1024):
        pass
    proxy.wait_until(lambda: not proxy.listener.connections)
    assert proxy.listener.ledger.handshakes_failed == {reason: 1}


def test_a_client_that_leaves_in_the_middle_of_a_handshake(serve, real_server):
    proxy = serve(targets=[real_server.port])
    for how in ("end", "reset"):
        client = proxy.connect(context=None, prefix=b"\x16\x03\x01\x02\x00")
        getattr(client, how)()
    proxy.wait_until(lambda: proxy.listener.ledger.handshakes_failed == {"client_closed": 2})


def test_a_client_that_does_not_trust_us(serve, real_server):
    proxy = serve(targets=[real_server.port])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(proxy.ports["https"], context).close()
    proxy.wait_until(lambda: sum(proxy.listener.ledger.handshakes_failed.values()) == 1)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_a_certificate_that_is_required_and_missing(serve, real_server, material, version):
    proxy = serve(targets=[real_server.port], ssl_mode="mutual", ca_certificate="partners")
    context = material.client_context(version=version)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        proxy.connect(context=context).ask()
    assert proxy.listener.ledger.handshakes_failed == {"no_certificate": 1}
    assert real_server.requests == []


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_a_client_key_that_is_too_weak(serve, real_server, material, version):
    mutual = {"ssl_mode": "mutual", "ca_certificate": "partners", "min_client_key_bits": 4096}
    proxy = serve(targets=[real_server.port], **mutual)
    client = proxy.connect(context=material.client_context(version=version, with_weak_certificate=True))
    client.send(request())
    assert client.read_to_end() == b""
    assert proxy.listener.ledger.handshakes_failed == {"weak_key": 1}
    assert real_server.requests == []


def test_a_broken_record_ends_the_session(serve, closing):
    """And whatever was under way on it."""
    release = threading.Event()
    server = closing.enter_context(RealServer(script=lambda c: (c.read_head(), release.wait(WAIT_S))))
    closing.callback(release.set)
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    client.sock.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with pytest.raises((ssl.SSLError, EOFError, ConnectionResetError)):
        client.read(1)
    proxy.wait_until(lambda: not proxy.listener.connections)
    assert proxy.listener.ledger.refused["broken_record"] == 1
    assert proxy.log_lines(1)[0]["status"] == 499


def test_the_server_name_is_logged(serve, real_server):
    proxy = serve(targets=[real_server.port])
    proxy.connect(server_name="a.example.com").ask()
    (line,) = proxy.log_lines(1)
    assert line["server_name"] == "a.example.com"


# --- the PROXY protocol ---


def version_2(address: bytes, port: int) -> bytes:
    body = address + b"\x0a\x01\x01\x01" + struct.pack("!HH", port, 443)
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(body)) + body


HEADERS = {
    "version_1": (b"PROXY TCP4 10.9.8.7 10.1.1.1 1234 443\r\n", b"10.9.8.7"),
    "version_1_ipv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 1234 443\r\n", b"2001:db8::7"),
    "version_1_unknown": (b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
    "version_2": (version_2(b"\x0a\x09\x08\x07", 1234), b"10.9.8.7"),
    "version_2_local": (b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", b"127.0.0.1"),
}


@PROTOCOLS
@pytest.mark.parametrize(("header", "client_address"), HEADERS.values(), ids=HEADERS)
def test_a_trusted_proxy_says_who_the_client_is(serve, real_server, protocol, header, client_address):
    proxy = serve(protocol=protocol, targets=[real_server.port], proxy_protocol=TRUSTED)
    client = proxy.connect(protocol, prefix=header)
    for _ in range(2):
        assert client.ask().status == 200
    for head in real_server.heads:
        assert b"\r\nX-Real-IP: " + client_address + b"\r\n" in head
    assert proxy.log_lines(2)[0]["remote_addr"].rpartition(":")[0].strip("[]").encode() == client_address
    assert proxy.call(proxy.listener.ledger.snapshot).overhead_in >= len(header)


def test_a_header_that_comes_byte_by_byte_and_with_the_request(serve, real_server):
    proxy = serve(protocol="http", targets=[real_server.port], proxy_protocol=TRUSTED)
    client = proxy.connect("http")
    wire = HEADERS["version_1"][0] + request()
    for position in range(30):
        client.send(wire[position : position + 1])
    client.send(wire[30:])
    assert client.read_answer().status == 200
    assert b"\r\nX-Real-IP: 10.9.8.7\r\n" in real_server.heads[0]


@PROTOCOLS
def test_a_trusted_proxy_must_say_it(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], proxy_protocol=TRUSTED)
    client = proxy.connect(protocol, context=None)
    client.send(request())
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read(1)
    assert proxy.listener.ledger.refused == {"bad_proxy_header": 1}


@PROTOCOLS
def test_who_is_not_trusted_is_not_believed(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], proxy_protocol={"from": ["10.0.0.0/8"]})
    client = proxy.connect(protocol, context=None, prefix=HEADERS["version_1"][0])
    if protocol == "http":
        client.send(b"\r\n")
        assert client.read_answer().status == 400
        assert client.read_to_end() == b""
    else:
        client.sock.recv(1024)
        proxy.wait_until(lambda: proxy.listener.ledger.handshakes_failed == {"proxy_header": 1})
    assert proxy.connect(protocol).ask().status == 200
    assert b"\r\nX-Real-IP: 127.0.0.1\r\n" in real_server.heads[0]


@PROTOCOLS
def test_a_header_that_does_not_come_is_timed_out(serve, real_server, protocol):
    keys = {"proxy_protocol": TRUSTED, "timeouts": {"handshake": "100ms"}}
    proxy = serve(protocol=protocol, targets=[real_server.port], **keys)
    client = proxy.connect(protocol, context=None, prefix=b"PROXY TCP4")
    with pytest.raises(ConnectionResetError):
        client.receive()


def test_both_versions_of_ip_on_one_socket(serve, real_server):
    proxy = serve(protocol="http", targets=[real_server.port], address="::")
    assert proxy.connect("http").ask().status == 200
    try:
        client = proxy.connect("http", address="::1")
    except OSError:
        pytest.skip("no IPv6 on this host")
    assert client.ask().status == 200
    assert [b"\r\nX-Real-IP: 127.0.0.1\r\n" in head for head in real_server.heads] == [True, False]
    assert b"\r\nX-Real-IP: ::1\r\n" in real_server.heads[1]


# --- drain ---


def drain(proxy):
    proxy.call(lambda: proxy.listener.stop_accepting(refuses=True))
    proxy.call(proxy.listener.drain)


@PROTOCOLS
def test_a_drain_ends_idle_connections_and_takes_no_new_ones(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port])
    idle, fresh = proxy.connect(protocol), proxy.connect(protocol)
    assert idle.ask().status == 200
    proxy.wait_until(lambda: len(proxy.listener.connections) == 2)
    drain(proxy)
    assert idle.read_to_end() == b""
    assert fresh.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        proxy.connect(protocol)


@PROTOCOLS
def test_a_drain_waits_for_answers_that_are_due(serve, closing, protocol):
    may_answer = threading.Event()

    def script(conversation):
        conversation.read_request()
        may_answer.wait(WAIT_S)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_answer.set)
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    drain(proxy)
    may_answer.set()
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (200, b"close")
    assert client.read_to_end() == b""


@PROTOCOLS
def test_a_drain_ends_a_connection_whose_answer_had_begun(serve, closing, protocol):
    """Its head could not say that the connection would close."""
    may_end = threading.Event()

    def script(conversation):
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        may_end.wait(WAIT_S)
        conversation.send(b"k")

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_end.set)
    proxy = serve(protocol=protocol, targets=[server.port])
    client = proxy.connect(protocol)
    client.send(request())
    client.read_until(b"\r\n\r\n")
    drain(proxy)
    may_end.set()
    assert client.read_to_end() == b"ok"


@PROTOCOLS
def test_a_drain_serves_a_head_that_has_begun(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port])
    client = proxy.connect(protocol)
    client.send(request()[:10])
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    proxy.wait_until(lambda: bool(connection._buffer))
    drain(proxy)
    client.send(request()[10:])
    assert client.read_answer().one(b"connection") == b"close"
    assert client.read_to_end() == b""


def test_the_rest_is_cut(serve, closing):
    release = threading.Event()
    server = closing.enter_context(RealServer(script=lambda c: (c.read_head(), release.wait(WAIT_S))))
    closing.callback(release.set)
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    proxy.call(proxy.listener.close)
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read(1)
    proxy.wait_until(lambda: not proxy.listener.rules[0].candidates[0].payload.open_connections)
