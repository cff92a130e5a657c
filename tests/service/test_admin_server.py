"""The management app on real sockets: what a stranger may hold, and for how long."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from node_on_a_socket import NodeOnASocket

from clb.service import admin_server
from clb.service.admin_server import admin_context, renew_identity
from clb.tls.contexts import Identity

WAIT_S = 10.0


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def connect(node):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_S)
    sock.connect(str(node.path))
    return sock


def is_closed(sock):
    """Wait for the other side's end."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    sock.close()
    return True


def test_requests_one_after_the_other(node):
    transport = httpx.HTTPTransport(uds=str(node.path))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        for _ in range(3):
            response = client.get("/healthz")
            assert (response.status_code, "server" in response.headers) == (200, False)


def test_a_head_must_come_in_time(node, monkeypatch):
    monkeypatch.setattr(admin_server, "HEAD_S", 0.05)
    silent, slow = connect(node), connect(node)
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX")
    assert is_closed(silent)
    assert is_closed(slow)


def test_the_next_head_must_come_in_time_too(node, monkeypatch):
    monkeypatch.setattr(admin_server, "HEAD_S", 0.2)
    sock = connect(node)
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200" in sock.recv(65536)
    sock.sendall(b"GET /heal")
    assert is_closed(sock)


def test_an_answer_must_be_read_in_time(node, monkeypatch):
    monkeypatch.setattr(admin_server, "ANSWER_S", 0.2)
    sock = connect(node)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # More than the buffers of both sides hold, and nobody reads.
    for _ in range(400):
        node.lab.node.events.add("kind", "x" * 400, a="y" * 400, b="z" * 400, c="w" * 400)
    sock.sendall(b"GET /v1/events?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
    give_up_at = time.monotonic() + WAIT_S
    while node.server.connections and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert not node.server.connections
    sock.close()


def test_a_large_head_is_refused(node):
    sock = connect(node)
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (64 << 10))
    assert is_closed(sock)


def test_connections_have_a_bound(node, monkeypatch):
    monkeypatch.setattr(admin_server, "MOST_CONNECTIONS", 2)
    held = [connect(node), connect(node)]
    assert is_closed(connect(node))
    held[0].close()
    held[1].sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200" in held[1].recv(65536)
    held[1].close()


def test_an_upgrade_is_not_served(node):
    sock = connect(node)
    sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    sock.close()


def test_tls_and_another_certificate(material, tmp_path):
    def identity():
        chain, key = material.certificate.read_bytes(), material.private_key.read_bytes()
        return Identity(chain, key, ("shop.example.com",), "ECDSA")

    context = admin_context(identity())
    with NodeOnASocket(tmp_path, context=context) as node:
        for _ in range(2):
            sock = connect(node)
            trusting = material.client_context(version=ssl.TLSVersion.TLSv1_2)
            with trusting.wrap_socket(sock, server_hostname="shop.example.com") as secure:
                secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert b"200" in secure.recv(65536)
            renew_identity(context, identity())
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_what_is_open_ends_with_the_server(node):
    idle = connect(node)
    idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200" in idle.recv(65536)
    node.run(node.server.stop)
    assert is_closed(idle)
