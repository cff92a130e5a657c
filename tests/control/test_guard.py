"""Who may ask, by which name, for how much."""

from __future__ import annotations

import asyncio

import pytest

from clb.control.guard import Bounds, Guard
from clb.control.hosts import KnownHosts


def test_the_control_socket_asks_for_nothing(lab):
    assert lab.request("GET", "/v1/status", headers={"host": "anything.test"}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_open_paths(lab, path):
    assert lab.request("GET", path, guarded=True, headers={"host": "probe.test"}).status_code == 200


CLOSED = ["/metrics", "/v1/status", "/v1/events", "/v1/openapi.json", "/nothing", "/healthz/", "//healthz", "/HEALTHZ"]


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_needs_the_token(lab, path):
    refused = lab.request("GET", path, guarded=True)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "no_credential"
    assert refused.headers["www-authenticate"] == 'Bearer realm="clb"'
    assert lab.request("GET", path, guarded=True, headers=lab.bearer()).status_code in (200, 404)


def test_wrong_credentials(lab):
    token = lab.bearer()["authorization"].removeprefix("Bearer ")
    for value in (f"Basic {token}", "Bearer", "Bearer ", f"Bearer {token}x", f"Bearer {token[:-1]}", token):
        refused = lab.request("GET", "/v1/status", guarded=True, headers={"authorization": value})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "wrong_credential"), value
    twice = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
    assert lab.request("GET", "/v1/status", guarded=True, headers=twice).status_code == 401


def test_metrics_may_be_opened(lab):
    lab.door.metrics_open = True
    assert lab.request("GET", "/metrics", guarded=True).status_code == 200
    assert lab.request("GET", "/v1/status", guarded=True).status_code == 401


def test_a_token_that_cannot_be_read_opens_nothing_and_is_not_shown(lab, caplog):
    headers = lab.bearer()
    lab.token.path.chmod(0o644)
    lab.token.path.write_text(headers["authorization"][7:] + "-new-and-others-may-read-it")
    refused = lab.request("GET", "/v1/status", guarded=True, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_token")
    assert "others may read it" in caplog.text
    assert headers["authorization"][7:] not in caplog.text + refused.text


# --- DNS rebinding ---

HOSTS = {
    "ipv4": (b"192.0.2.1:9443", True),
    "ipv6": (b"[2001:db8::1]:9443", True),
    "localhost": (b"LOCALHOST:9443", True),
    "named": (b"clb.example.com", True),
    "named_with_dot": (b"CLB.example.com.", True),
    "by_wildcard": (b"a.nodes.example.com", True),
    "wildcard_is_one_label": (b"a.b.nodes.example.com", False),
    "strange": (b"evil.test", False),
    "like_localhost": (b"localhost.evil.test", False),
    "like_an_address": (b"127.0.0.1.evil.test", False),
    "number": (b"2130706433", False),
    "no_host": (b"", False),
    "userinfo": (b"a@127.0.0.1", False),
}


@pytest.mark.parametrize(("host", "is_known"), HOSTS.values(), ids=HOSTS)
def test_known_hosts(host, is_known):
    assert KnownHosts(["clb.example.com", "*.nodes.example.com"]).knows(host) is is_known


def test_a_strange_host_is_refused_before_the_credential_is_looked_at(lab):
    refused = lab.request("GET", "/v1/status", guarded=True, headers={**lab.bearer(), "host": "evil.test"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (421, "unknown_host")


# --- what every answer has ---


@pytest.mark.parametrize("path", ["/healthz", "/v1/status", "/metrics", "/nothing"])
def test_headers_of_every_answer(lab, path):
    headers = lab.request("GET", path, guarded=True).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    assert headers["date"].endswith("GMT")


# --- bounds ---


def test_a_body_has_a_bound(lab):
    for body in ({"content": b"x" * 2000}, {"content": iter([b"x" * 900, b"y" * 900])}):
        data = body["content"]
        content = data if isinstance(data, bytes) else b"".join(data)

        async def pieces(content=content):
            yield content[:900]
            yield content[900:]

        for form in (content, pieces()):
            response = lab.request("POST", "/v1/reload", content=form, bounds=Bounds(body_bytes=1000))
            assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_a_length_that_is_absurd_is_refused(lab):
    response = lab.request("POST", "/v1/reload", content=b"", headers={"content-length": "9" * 5000})
    assert response.status_code == 413


def test_a_body_must_come_in_time(lab):
    status = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        status.append(message.get("status"))

    guard = Guard(lab.app, None, Bounds(body_s=0.01))
    scope = {"type": "http", "method": "POST", "path": "/v1/reload", "headers": []}
    asyncio.run(guard(scope, never, send))
    assert status[0] == 408


def test_a_client_that_goes_away_gets_nothing(lab):
    sent = []

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(
        Guard(lab.app, None)({"type": "http", "method": "GET", "path": "/v1/status", "headers": []}, gone, send)
    )
    assert sent == []


def test_requests_at_once_have_a_bound(lab):
    async def run():
        release, running = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send):
            running.set()
            await release.wait()

        guard = Guard(slow, None, Bounds(requests=1))
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/v1/status", "headers": []}
        first = asyncio.create_task(guard(dict(scope), receive, send))
        await running.wait()
        await guard(dict(scope), receive, send)
        assert sent[0]["status"] == 503
        assert (b"retry-after", b"1") in sent[0]["headers"]
        release.set()
        await first
        sent.clear()
        await guard(dict(scope), receive, send)
        assert sent == []

    asyncio.run(run())


def test_only_http_is_served(lab):
    async def run():
        await Guard(lab.app, None)({"type": "websocket", "path": "/"}, None, None)

    asyncio.run(run())
