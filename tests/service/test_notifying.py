"""What needs a hand is told to the webhook of the file: certificates that expire, targets that fail."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

import pytest
from control_lab import NOW, Lab, outline

from clb.service.bundle import CertificateFacts
from clb.service.notifying import Notifying

SITE = {"certificates": {"web": {"type": "server", "certificate": "web.pem", "private_key": "web.key"}}}


def test_what_expires_is_told_to_the_webhook_of_the_file(tmp_path):
    heard = asyncio.Event()
    bodies = []

    async def receive(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        bodies.append((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        heard.set()

    async def run():
        server = await asyncio.start_server(receive, "127.0.0.1", 0)
        async with server:
            node = Lab(tmp_path).node
            watch = Notifying(node, tmp_path)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            end = datetime.fromtimestamp(NOW, UTC) + timedelta(days=2)
            facts = CertificateFacts(("a.example",), "RSA", end - timedelta(days=90), end, "a" * 64)
            found = outline({**SITE, "notify": {"webhook": url, "secret": "key"}})
            node.outline = replace(found, certificates={"web": facts})
            watch.follow()
            task = asyncio.create_task(watch.run())
            await asyncio.wait_for(heard.wait(), 10)
            task.cancel()

    asyncio.run(run())
    head, body = bodies[0]
    assert json.loads(body)["certificate"]["name"] == "web"
    assert b"clb-signature: v1=" in head


HEALTH = {
    "new": ("target_health", {"before": None, "after": "checking"}, False),
    "well": ("target_health", {"before": "checking", "after": "healthy"}, False),
    "fails": ("target_health", {"before": "healthy", "after": "unhealthy"}, True),
    "ejected": ("target_health", {"before": "healthy", "after": "ejected"}, True),
    "back": ("target_health", {"before": "unhealthy", "after": "healthy"}, True),
    "all_out": ("rule_health", {"all_out": True, "all_dead": "serve"}, True),
    "something_else": ("reloaded", {}, False),
}


@pytest.mark.parametrize(("kind", "details", "is_told"), HEALTH.values(), ids=HEALTH)
def test_failing_targets_are_told(tmp_path, monkeypatch, kind, details, is_told):
    sent = []
    monkeypatch.setattr("clb.service.notifying.Webhook.send", lambda self, *what: sent.append(what))
    node = Lab(tmp_path).node
    Notifying(node, tmp_path)
    node.events.add(kind, "3 probes in a row failed", "10.0.0.1:80", **details)
    assert len(sent) == is_told
    if is_told:
        word, facts = sent[0]
        assert word == kind.replace("_", ".")
        assert (facts["subject"], facts["details"]) == ("10.0.0.1:80", details)
        assert facts["message"] == "10.0.0.1:80: 3 probes in a row failed"
