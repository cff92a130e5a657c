"""The request as the real server gets it, clb's own fields included: one request, and nobody else's word in it."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest
from http1_lab import MARKER, Message, body_for, h11_requests, llhttp_requests
from hypothesis import HealthCheck, given, settings
from message_strategies import REQUESTS
from test_request import ACCEPTED

from clb.errors import BadRequest
from clb.http1.fields import is_reserved
from clb.http1.request import CHUNKED, RequestHead, read_request_head
from clb.proxy.exchange import Exchange
from clb.proxy.forwarded import address_lines, connection_lines

CLIENT = b"192.0.2.9"
IDENTITY = b"X-SSL-Client-Verify: NONE\r\n"
OWN = {
    b"x-forwarded-proto": b"https",
    b"x-forwarded-port": b"443",
    b"x-client-proto": b"https",
    b"x-real-ip": CLIENT,
    b"x-stgw-time": b"1591692977.774",
    b"x-request-id": b"id-of-clb",
    b"x-ssl-client-verify": b"NONE",
}


def head_to_server(request: RequestHead, *, trusted: str = "203.0.113.0/24", forwarded_for: str = "append") -> bytes:
    """Let an exchange send the request to a real server that only keeps it."""
    config = SimpleNamespace(forwarded_for=forwarded_for, trusted_proxies=(ip_network(trusted),))
    connection = SimpleNamespace(
        plain_lines=address_lines(CLIENT) + b"X-Client-Proto-Ver: HTTP/1.1\r\nVia: 1.1 clb\r\n",
        forwarded_lines=connection_lines(b"https", 443, IDENTITY),
        client_address=CLIENT,
        clock=SimpleNamespace(stamp=lambda now: b"1591692977.774"),
        runtime=SimpleNamespace(config=config, next_request_id=lambda: b"id-of-clb"),
        request_id=lambda request: b"id-of-clb",
        is_write_blocked=True,
        expect_body=lambda: None,
    )
    sent: list[bytes] = []
    upstream = SimpleNamespace(begin=lambda exchange, method, head: sent.append(head))
    Exchange(cast(Any, connection), request, 0.0, 0)._send(cast(Any, upstream), 0.0)
    (head,) = sent
    return head


def check(request: RequestHead) -> None:
    head = head_to_server(request)
    body = body_for(request)
    is_whole = request.content_length == CHUNKED or len(body) == request.content_length
    for read in (h11_requests, llhttp_requests):
        messages = read(head + body + MARKER)
        assert [message.target for message in messages] == [request.target, b"/marker"][: 1 + is_whole]
        assert messages[0].is_complete == is_whole
        check_own_fields(messages[0], request)


def check_own_fields(server: Message, request: RequestHead) -> None:
    """Every reserved field is there once, with clb's value, or is a chain that clb has added to."""
    reserved = [(name.lower(), value) for name, value in server.fields if is_reserved(name.lower())]
    fields = dict(reserved)
    assert len(fields) == len(reserved)
    chains = {b"via": b"1.%d clb" % request.minor_version, b"x-forwarded-for": CLIENT}
    for name, last in chains.items():
        before = request.supplied.get(name)
        assert fields.pop(name) == (before + b", " + last if before else last)
    assert fields.pop(b"x-client-proto-ver") == b"HTTP/1.%d" % request.minor_version
    assert fields == OWN


@pytest.mark.parametrize("head", [case[0] for case in ACCEPTED.values()], ids=list(ACCEPTED))
def test_every_accepted_case(head: bytes) -> None:
    check(read_request_head(head + b"\r\n", 100))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_generated_requests(head: bytes) -> None:
    end = head.find(b"\r\n\r\n") + 4
    try:
        request = read_request_head(head[:end], 100) if end > 3 else None
    except BadRequest:
        return
    if request is not None:
        check(request)


SUPPLIED = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nVia: 1.0 x\r\n\r\n"


def test_a_trusted_proxy_is_believed() -> None:
    head = head_to_server(read_request_head(SUPPLIED, 100), trusted="192.0.2.0/24")
    assert b"\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.9\r\nX-Real-IP: 6.6.6.6\r\n" in head
    assert b"\r\nForwarded: for=6.6.6.6\r\n" in head
    assert b"\r\nVia: 1.0 x, 1.1 clb\r\n" in head


def test_anybody_else_is_appended_to_or_replaced() -> None:
    request = read_request_head(SUPPLIED, 100)
    appended = head_to_server(request)
    assert b"\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.9\r\nX-Real-IP: 192.0.2.9\r\n" in appended
    assert b"\r\nForwarded:" not in appended
    replaced = head_to_server(request, trusted="192.0.2.0/24", forwarded_for="replace")
    assert b"\r\nX-Forwarded-For: 192.0.2.9\r\nX-Real-IP: 192.0.2.9\r\n" in replaced
