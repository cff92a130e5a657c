"""What a real server is told, by clb and by nobody else; what passes and what ends at clb."""

from __future__ import annotations

import re
import time

import pytest
from raw_client import request
from real_server import RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
LOOPBACK = ["127.0.0.0/8"]


def fields_of(head: bytes) -> list[tuple[bytes, bytes]]:
    """Every field with its name in lower case."""
    lines = head[:-4].split(b"\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


def one(head: bytes, name: bytes) -> bytes:
    """The value of the field that stands there once."""
    (value,) = (value for other, value in fields_of(head) if other == name)
    return value


@PROTOCOLS
def test_a_real_server_is_told_of_the_client(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port])
    before = time.time()
    proxy.connect(protocol).ask("/a?b=c", fields="User-Agent: test\r\n")
    (head,) = real_server.heads
    assert head.startswith(b"GET /a?b=c HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: test\r\n")
    assert one(head, b"x-forwarded-for") == one(head, b"x-real-ip") == b"127.0.0.1"
    assert one(head, b"x-forwarded-proto") == one(head, b"x-client-proto") == protocol.encode()
    assert one(head, b"x-client-proto-ver") == b"HTTP/1.1"
    assert one(head, b"via") == b"1.1 clb"
    assert one(head, b"x-forwarded-port").isdigit()
    assert re.fullmatch(rb"[0-9a-f]{32}", one(head, b"x-request-id"))
    stamp = one(head, b"x-stgw-time")
    assert re.fullmatch(rb"\d+\.\d{3}", stamp)
    assert abs(float(stamp) - before) < 10
    assert not any(name.startswith(b"x-ssl-client") or name == b"connection" for name, _ in fields_of(head))


SPOOFED = [
    "X-Real-IP: 6.6.6.6",
    "X-Forwarded-Proto: spoof",
    "x-forwarded-port: 666",
    "X-Client-Proto: spoof",
    "X-Client-Proto-Ver: spoof",
    "X-Client-SPDY: spoof",
    "X-Stgw-Time: 666",
    "X-Request-ID: spoof",
    "X-SSL-Client-Verify: SUCCESS",
    "x-ssl-client-subject: CN=spoof",
    "X-SSL-Client-Anything: spoof",
    "Client-Cert: :spoof:",
    "Client-Cert-Chain: :spoof:",
    "X_Real_IP: 6.6.6.6",
    "X_SSL_Client_Verify: SUCCESS",
    "X-SSL_Client-Verify: SUCCESS",
    "Forwarded: for=6.6.6.6",
]


@PROTOCOLS
@pytest.mark.parametrize("field", SPOOFED)
def test_what_a_client_says_in_clbs_name_is_removed(serve, real_server, protocol, field):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    for _ in range(2):
        client.ask(fields=f"{field}\r\nX-Kept: yes\r\n")
    for head in real_server.heads:
        assert b"spoof" not in head
        assert b"6.6.6.6" not in head
        assert b"666" not in (one(head, b"x-forwarded-port"), one(head, b"x-stgw-time"))
        assert b"_" not in head
        assert not any(name.startswith(b"x-ssl-client") for name, _ in fields_of(head))
        assert one(head, b"x-kept") == b"yes"


def test_a_connection_field_cannot_take_clbs_own_fields_away(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    client.ask(fields="Connection: X-Real-IP, X-Forwarded-For, Host, X-Stgw-Time, X-Request-ID, keep-alive\r\n")
    (head,) = real_server.heads
    for name in (b"host", b"x-real-ip", b"x-forwarded-for", b"x-stgw-time", b"x-request-id"):
        assert one(head, name)


ENDING_HERE = {
    "connection": "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n",
    "keep_alive": "Keep-Alive: timeout=5\r\n",
    "proxy_connection": "Proxy-Connection: keep-alive\r\n",
    "proxy_authorization": "Proxy-Authorization: Basic eA==\r\n",
    "te": "TE: trailers\r\n",
    "upgrade": "Upgrade: h2c\r\n",
}


@pytest.mark.parametrize("fields", ENDING_HERE.values(), ids=ENDING_HERE)
def test_hop_by_hop_fields_of_a_request_end_here(serve, real_server, fields):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask(fields=fields + "X-Kept: yes\r\n").status == 200
    names = {name for name, _ in fields_of(real_server.heads[0])}
    sent = {line.partition(":")[0].lower().encode() for line in fields.splitlines()}
    assert not names & sent
    assert b"x-kept" in names


ANSWER_FIELDS = {
    "connection": b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n",
    "keep_alive": b"Keep-Alive: timeout=5\r\n",
    "proxy_authenticate": b"Proxy-Authenticate: Basic\r\n",
    "upgrade": b"Upgrade: h2c\r\n",
}


@pytest.mark.parametrize("fields", ANSWER_FIELDS.values(), ids=ANSWER_FIELDS)
def test_hop_by_hop_fields_of_an_answer_end_here(serve, closing, fields):
    server = closing.enter_context(
        RealServer(b"HTTP/1.1 200 OK\r\n" + fields + b"X-Kept: yes\r\nContent-Length: 2\r\n\r\nok")
    )
    client = serve(targets=[server.port]).connect()
    for _ in range(2):
        assert {name for name, _ in client.ask().fields} == {b"X-Kept", b"Content-Length"}
    assert len(server.conversations) == 1


def test_repeated_fields_keep_their_order(serve, closing):
    server = closing.enter_context(
        RealServer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
    )
    client = serve(targets=[server.port]).connect()
    answer = client.ask(fields="A: 1\r\nB: 2\r\nA: 3\r\n")
    assert answer.all(b"set-cookie") == [b"a=1", b"b=2"]
    assert [value for name, value in fields_of(server.heads[0]) if name in (b"a", b"b")] == [b"1", b"2", b"3"]


def test_bytes_outside_ascii_pass_as_they_are(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    client.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nX: \xc3\xa9\xff\r\n\r\n")
    assert client.read_answer().status == 200
    assert one(real_server.heads[0], b"x") == b"\xc3\xa9\xff"


@PROTOCOLS
def test_an_absolute_target_replaces_host(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    assert client.ask("http://Other.example.com:81/a?b", fields="X: y\r\n").status == 200
    (head,) = real_server.heads
    assert head.startswith(b"GET /a?b HTTP/1.1\r\nHost: Other.example.com:81\r\n")
    assert [value for name, value in fields_of(head) if name == b"host"] == [b"Other.example.com:81"]


def test_options_of_the_whole_server(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask("*", "OPTIONS").status == 200
    assert real_server.heads[0].startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_the_target_is_forwarded_as_it_was_spelled(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask("/a/./b//c/%7Ed/../e?x=%2F..&y[]=1").status == 200
    assert real_server.heads[0].startswith(b"GET /a/./b//c/%7Ed/../e?x=%2F..&y[]=1 HTTP/1.1\r\n")


# --- X-Forwarded-For, and whom to believe ---

CHAINS = {  # case: (listener keys, what the client sent, what arrives, who is the client)
    "appended": ({}, "1.1.1.1", b"1.1.1.1, 127.0.0.1", b"127.0.0.1"),
    "replaced": ({"forwarded_for": "replace"}, "1.1.1.1", b"127.0.0.1", b"127.0.0.1"),
    "believed": ({"trusted_proxies": LOOPBACK}, "9.9.9.9, 1.1.1.1", b"9.9.9.9, 1.1.1.1, 127.0.0.1", b"1.1.1.1"),
    "believed_through_two": (
        {"trusted_proxies": [*LOOPBACK, "10.0.0.0/8"]},
        "1.1.1.1, 10.0.0.1",
        b"1.1.1.1, 10.0.0.1, 127.0.0.1",
        b"1.1.1.1",
    ),
    "no_address": ({"trusted_proxies": LOOPBACK}, "unknown", b"unknown, 127.0.0.1", b"127.0.0.1"),
}


@pytest.mark.parametrize(("keys", "sent", "arrives", "client"), CHAINS.values(), ids=CHAINS)
def test_the_chain_of_addresses(serve, real_server, keys, sent, arrives, client):
    connection = serve(targets=[real_server.port], **keys).connect()
    assert connection.ask(fields=f"X-Forwarded-For: {sent}\r\n").status == 200
    (head,) = real_server.heads
    assert (one(head, b"x-forwarded-for"), one(head, b"x-real-ip")) == (arrives, client)


def test_a_request_id_is_kept_from_a_trusted_client(serve, real_server):
    client = serve(targets=[real_server.port], trusted_proxies=LOOPBACK).connect()
    client.ask(fields="X-Request-ID: abc-123\r\nForwarded: for=1.1.1.1\r\n")
    assert one(real_server.heads[0], b"x-request-id") == b"abc-123"
    assert one(real_server.heads[0], b"forwarded") == b"for=1.1.1.1"


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, 'a"b', "<script>"])
def test_a_request_id_that_could_do_harm_is_not_kept(serve, real_server, value):
    client = serve(targets=[real_server.port], trusted_proxies=LOOPBACK).connect()
    client.ask(fields=f"X-Request-ID: {value}\r\n")
    assert re.fullmatch(rb"[0-9a-f]{32}", one(real_server.heads[0], b"x-request-id"))


def test_every_request_has_an_id_of_its_own_which_the_log_shows(serve, real_server):
    proxy = serve(targets=[real_server.port])
    client = proxy.connect()
    for _ in range(3):
        client.ask()
    ids = [one(head, b"x-request-id").decode() for head in real_server.heads]
    assert len(set(ids)) == 3
    assert [line["stgw_request_id"] for line in proxy.log_lines(3)] == ids


def test_via_is_appended_to(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    client.ask(fields="Via: 1.0 edge\r\n")
    assert one(real_server.heads[0], b"via") == b"1.0 edge, 1.1 clb"


# --- what the client's certificate proves ---


@pytest.mark.parametrize("fields", ["", "X-SSL-Client-Verify: NONE\r\nClient-Cert: :spoof:\r\n"], ids=["", "spoofed"])
def test_a_verified_certificate_is_told_of(serve, real_server, material, fields):
    keys = {"ssl_mode": "mutual", "ca_certificate": "partners"}
    proxy = serve(targets=[real_server.port], **keys)
    client = proxy.connect(context=material.client_context(with_certificate=True))
    assert client.ask(fields=fields).status == 200
    (head,) = real_server.heads
    assert one(head, b"x-ssl-client-verify") == b"SUCCESS"
    assert one(head, b"x-ssl-client-san") == b"email:alice@partner.example"
    assert one(head, b"client-cert").startswith(b":MII")
    assert b"spoof" not in head


def test_a_client_without_a_certificate_where_it_is_optional(serve, real_server):
    keys = {"ssl_mode": "mutual", "ca_certificate": "partners", "verify_client": "optional"}
    client = serve(targets=[real_server.port], **keys).connect()
    assert client.ask(fields="X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-Subject: CN=spoof\r\n").status == 200
    (head,) = real_server.heads
    assert one(head, b"x-ssl-client-verify") == b"NONE"
    assert b"spoof" not in head


def test_the_request_behind_a_hundred_fields(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    client.send(request(fields="".join(f"X-{number}: {number}\r\n" for number in range(99))))
    assert client.read_answer().status == 200
    assert one(real_server.heads[0], b"x-98") == b"98"
