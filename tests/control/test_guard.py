"""Who may ask, by which name, for how much."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from control_lab import NOW

from clb.control.doors import PEER_UID
from clb.control.failed_logins import BURST
from clb.control.guard import Bounds, Guard
from clb.control.hosts import KnownHosts
from clb.store.interface import StoreAway
from clb.store.inventory import Role


def test_the_control_socket_asks_for_nothing(lab):
    assert lab.request("GET", "/v1/status", headers={"host": "anything.test"}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_open_paths(lab, path):
    assert lab.request("GET", path, guarded=True, headers={"host": "probe.test"}).status_code == 200


CLOSED = ["/metrics", "/v1/status", "/v1/events", "/v1/openapi.json", "/nothing", "/healthz/", "//healthz", "/HEALTHZ"]


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_needs_a_token(lab, path):
    refused = lab.request("GET", path, guarded=True)
    assert refused.status_code == 401
    assert refused.json()["code"] == "no_credential"
    assert refused.headers["www-authenticate"] == 'Bearer realm="clb"'
    assert lab.request("GET", path, guarded=True, headers=lab.bearer(Role.VIEWER)).status_code in (200, 404)


def test_without_any_token_and_without_a_store_nothing_opens(lab):
    headers = {"authorization": "Bearer clb_aaaaaaaaaaaa_" + "A" * 43}
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 401
    lab.node.writer = None
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 401
    assert lab.request("GET", "/healthz", guarded=True).status_code == 200


def test_known_tokens_open_while_the_store_is_away(lab):
    headers = lab.bearer()
    lab.store.fault = StoreAway("gone")
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 200


def test_wrong_credentials(lab):
    secret = lab.make_token(Role.ADMIN)
    for value in (f"Basic {secret}", "Bearer", "Bearer ", f"Bearer {secret}x", f"Bearer {secret[:-1]}", secret):
        refused = lab.request("GET", "/v1/status", guarded=True, headers={"authorization": value})
        assert (refused.status_code, refused.json()["code"]) == (401, "wrong_credential"), value
        assert secret not in refused.text
    twice = [("authorization", f"Bearer {secret}"), ("authorization", f"Bearer {secret}")]
    assert lab.request("GET", "/v1/status", guarded=True, headers=twice).status_code == 401


OVER = {
    "expired": ({"expires_at": datetime.fromtimestamp(NOW, UTC)}, "expired_credential"),
    "revoked": ({"revoked_at": datetime.fromtimestamp(NOW, UTC)}, "revoked_credential"),
}


@pytest.mark.parametrize(("changes", "code"), OVER.values(), ids=OVER)
def test_tokens_that_are_over(lab, changes, code):
    headers = {"authorization": f"Bearer {lab.make_token(Role.ADMIN, **changes)}"}
    refused = lab.request("GET", "/v1/status", guarded=True, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, code)


def test_metrics_may_be_opened(lab):
    lab.door.metrics_open = True
    assert lab.request("GET", "/metrics", guarded=True).status_code == 200
    assert lab.request("GET", "/v1/status", guarded=True).status_code == 401


# --- failures ---


def test_a_source_that_fails_is_slowed_down_alone(lab):
    headers, wrong = lab.bearer(), {"authorization": "Bearer wrong"}
    answers = [lab.request("GET", "/v1/status", guarded=True, headers=wrong) for _ in range(BURST + 1)]
    assert [answer.status_code for answer in answers] == [401] * BURST + [429]
    assert answers[-1].json()["code"] == "too_many_failures"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
    # There not even a right one is looked at, or one could go on guessing.
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 429
    assert lab.request("GET", "/v1/status", guarded=True).status_code == 401
    assert lab.request("GET", "/healthz", guarded=True).status_code == 200
    lab.source = "192.0.2.78"
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 200
    lab.source = "192.0.2.77"
    lab.now += 60
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 200


def test_requests_without_a_credential_slow_nobody_down(lab):
    for _ in range(3 * BURST):
        assert lab.request("GET", "/v1/status", guarded=True).status_code == 401
    assert lab.request("GET", "/v1/status", guarded=True, headers=lab.bearer()).status_code == 200
    assert lab.node.trail.refusals.take() == []


def test_what_is_refused_is_counted(lab):
    lab.request("GET", "/v1/status", guarded=True, headers={"authorization": "Bearer wrong"})
    lab.request("POST", "/v1/reload", guarded=True, headers=lab.bearer(Role.VIEWER))
    told = {each.source: each.reasons for each in lab.node.trail.refusals.take()}
    assert told.pop("192.0.2.77") == {"wrong": 1}
    ((who, reasons),) = told.items()
    assert who.startswith("token:viewer-0 (tok-")
    assert reasons == {"forbidden": 1}


# --- the control socket ---


@pytest.mark.parametrize(("state", "status"), [({PEER_UID: 4242}, 403), ({}, 403), ({PEER_UID: 0}, 200)])
def test_the_control_socket_is_for_root_and_the_user_of_the_service(lab, state, status):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/whoami", "headers": [], "query_string": b"", "state": state}
    asyncio.run(Guard(lab.app, lab.socket_door)(scope, receive, send))
    assert sent[0]["status"] == status
    if status == 200:
        assert json.loads(sent[1]["body"])["name"] == "uid:0 (control socket)"


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
    assert (refused.status_code, refused.json()["code"]) == (421, "unknown_host")


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
    assert headers["x-request-id"].startswith("req-")


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
            assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_length_that_is_absurd_is_refused(lab):
    response = lab.request("POST", "/v1/reload", content=b"", headers={"content-length": "9" * 5000})
    assert response.status_code == 413


def test_a_body_must_come_in_time(lab):
    status = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        status.append(message.get("status"))

    guard = Guard(lab.app, lab.socket_door, Bounds(body_s=0.01))
    scope = {"type": "http", "method": "POST", "path": "/v1/reload", "headers": [], "state": {PEER_UID: 0}}
    asyncio.run(guard(scope, never, send))
    assert status[0] == 408


def test_a_client_that_goes_away_gets_nothing(lab):
    sent = []

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(
        Guard(lab.app, lab.socket_door)(
            {"type": "http", "method": "GET", "path": "/v1/status", "headers": [], "state": {PEER_UID: 0}}, gone, send
        )
    )
    assert sent == []


def test_requests_at_once_have_a_bound(lab):
    async def run():
        release, running = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send):
            running.set()
            await release.wait()

        guard = Guard(slow, lab.socket_door, Bounds(requests=1))
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/v1/status", "headers": [], "state": {PEER_UID: 0}}
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
        await Guard(lab.app, lab.socket_door)({"type": "websocket", "path": "/"}, None, None)

    asyncio.run(run())
