"""FAQ 13: "What should I do after the certificate expires?"

Replace it by hand. Until then it is served all the same, with a loud warning.
"""

from __future__ import annotations

import datetime
import hmac
import http.server
import json
import queue
import ssl
import threading
import time

from faq_node import CERTIFICATES, Issuer, Stream, leaf


def lenient(issuer: Issuer) -> ssl.SSLContext:
    """A client that does not mind dates, as somebody who clicks a warning away."""
    context = issuer.context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_an_expired_certificate_is_served_loudly_until_it_is_replaced(node):
    issuer = Issuer()
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    old = issuer.issue(not_before=yesterday - datetime.timedelta(days=30), not_after=yesterday)
    assert node.refusal("POST", CERTIFICATES, {"name": "web", **old.upload}).code == "expired"
    known = node.upload("web", old, force=True)
    assert (known["state"], known["forced"]) == ("expired", True)
    ports = node.serve(shop={"https": {"certificate": known["id"]}})
    assert leaf(ports["https"], lenient(issuer)) == old.fingerprint
    node.wait_for_line("is still served")
    kinds = [event["kind"] for event in node.api.get("/v1/events")["events"]]
    assert "certificate_expired" in kinds

    new = issuer.issue()
    with Stream(ports["https"], lenient(issuer)) as stream:
        while stream.answers < 5 or len(stream.shown) < 5:
            time.sleep(0.01)
        told = node.replace(known, new)
        replaced_at, before = time.monotonic(), len(stream.shown)
        while len(stream.shown) < before + 10:
            time.sleep(0.01)
        answers = stream.answers
        while stream.answers < answers + 5:
            time.sleep(0.01)
    assert stream.faults == []
    assert (told["state"], told["generation"]) == ("active", 2)
    # From the answer on every new connection is shown the new one; one may have begun before.
    assert set(stream.shown[before + 2 :]) == {new.fingerprint}
    assert leaf(ports["https"], issuer.context()) == new.fingerprint
    assert time.monotonic() - replaced_at < 30


def test_somebody_is_told_before_it_comes_to_that(node, closing):
    heard: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            fields = {name.lower(): value for name, value in self.headers.items()}
            heard.put((fields, self.rfile.read(int(fields["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = closing.enter_context(http.server.HTTPServer(("127.0.0.1", 0), Receiver))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    closing.callback(thread.join)
    closing.callback(server.shutdown)
    node.document["notify"] = {"webhook": f"http://127.0.0.1:{server.server_port}/hook", "secret": "shared"}
    try:
        issuer = Issuer()
        soon = issuer.issue(not_after=datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=6))
        node.serve()
        known = node.upload("web", soon)
        ports = node.serve(shop={"https": {"certificate": known["id"]}})
        fields, body = heard.get(timeout=10)
    finally:
        del node.document["notify"]
    assert known["state"] == "expiring"
    told = json.loads(body)
    assert (told["type"], told["notice_days"], told["certificate"]["id"]) == ("certificate.expiring", 7, known["id"])
    text = fields["clb-timestamp"].encode() + b"." + body
    assert fields["clb-signature"] == "v1=" + hmac.new(b"shared", text, "sha256").hexdigest()
    assert leaf(ports["https"], issuer.context()) == soon.fingerprint
