"""The site that real clients visit: certificates, configuration, real server and the serving process."""

from __future__ import annotations

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from cryptography import x509
from serving import Serving, free_ports
from tls_lab import DAY, NOW, Authority, Issued, key_pem, rsa_key

NAME = "a.test"
PAGE = b"""<!doctype html><title>real server</title><p id="text">before</p><script src="/script.js"></script>"""
SCRIPT = b"""document.getElementById("text").textContent = "written by " + "a script";"""

CONFIG = """
node: {{state_dir: {folder}/state, access_log: {{format: json}}, workers: 1}}
admin: {{port: {ports[4]}}}
certificates:
  rsa: {{type: server, certificate: rsa.pem, private_key: rsa.key}}
  ecdsa: {{type: server, certificate: ecdsa.pem, private_key: ecdsa.key}}
  clients: {{type: ca, certificate: clients-ca.pem}}
load_balancers:
  - name: shop
    listeners:
      - name: rsa
        address: 127.0.0.1
        port: {ports[0]}
        certificate: rsa
        rules: &rules [{{domain: a.test, default: true, targets: [{{address: 127.0.0.1, port: {real}}}]}}]
      - {{name: ecdsa, address: 127.0.0.1, port: {ports[1]}, certificate: ecdsa, rules: *rules}}
      - name: required
        address: 127.0.0.1
        port: {ports[2]}
        certificate: ecdsa
        ssl_mode: mutual
        ca_certificate: clients
        crl: crl.pem
        rules: *rules
      - name: optional
        address: 127.0.0.1
        port: {ports[3]}
        certificate: ecdsa
        ssl_mode: mutual
        verify_client: optional
        ca_certificate: clients
        rules: *rules
"""


class _RealServer(BaseHTTPRequestHandler):
    """Answers with a page, a script, or the request's fields as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/page":
            self._answer(PAGE, "text/html")
        elif self.path == "/script.js":
            self._answer(SCRIPT, "text/javascript")
        else:
            self._answer(json.dumps(dict(self.headers)).encode(), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"%d bytes" % len(body), "text/plain")

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Site:
    """Everything, running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._make_certificates()
        self._real_server = ThreadingHTTPServer(("127.0.0.1", 0), _RealServer)
        self._real_server.daemon_threads = True
        threading.Thread(target=self._real_server.serve_forever, daemon=True).start()
        ports = free_ports(5)
        self.ports = dict(zip(("rsa", "ecdsa", "required", "optional"), ports, strict=False))
        config = folder / "clb.yaml"
        config.write_text(CONFIG.format(folder=folder, ports=ports, real=self._real_server.server_address[1]))
        self.clb = Serving(config)

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.clb.drain()
        self._real_server.shutdown()
        self._real_server.server_close()
        assert self.clb.signs_of_defects() == []
        assert status == 0

    @property
    def ca(self) -> str:
        """File of the CA that signed the servers' certificates."""
        return str(self.folder / "ca.pem")

    def pair(self, name: str) -> tuple[str, str]:
        """Files of a client's certificate and key."""
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")

    def _make_certificates(self) -> None:
        servers, clients = Authority("Servers CA", key=rsa_key(2048, 1)), Authority("Clients CA")
        names = [x509.DNSName(NAME)]
        self._write("rsa", servers.issue(NAME, key=rsa_key(), names=names))
        self._write("ecdsa", servers.issue(NAME, names=names))
        revoked = clients.issue("revoked")
        week = datetime.timedelta(days=7)
        self._write("client", clients.issue("client"))
        self._write("revoked", revoked)
        self._write("expired", clients.issue("expired", start=NOW - week, end=NOW - DAY))
        self._write("not_yet_valid", clients.issue("not_yet_valid", start=NOW + DAY, end=NOW + week))
        self._write("unknown_ca", Authority("Nobody's CA").issue("unknown_ca"))
        (self.folder / "ca.pem").write_bytes(servers.pem)
        (self.folder / "clients-ca.pem").write_bytes(clients.pem)
        (self.folder / "crl.pem").write_bytes(clients.revocation_list(revoked))

    def _write(self, name: str, issued: Issued) -> None:
        (self.folder / f"{name}.pem").write_bytes(issued.chain_pem)
        (self.folder / f"{name}.key").write_bytes(key_pem(issued.key))
