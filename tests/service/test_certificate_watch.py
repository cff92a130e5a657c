"""The watch follows the configuration: the webhook is that of the file, and what expires is told there."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from control_lab import NOW, Lab, outline

from clb.service.bundle import CertificateFacts
from clb.service.certificate_watch import CertificateWatch

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
            watch = CertificateWatch(node, tmp_path)
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
