"""A whole clb as an operator has it: a file, a process, its control socket; and clients of its listeners."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
import yaml
from clb_process import ClbProcess, free_port
from real_server import WAIT_S
from tls_material import HOST, TlsMaterial

from clb.cli.node_client import NodeClient, NodeFault

CERTIFICATES = "/v1/certificates"


@dataclass(frozen=True)
class Issued:
    """A server certificate and its key, as PEM."""

    certificate: str
    private_key: str

    @property
    def fingerprint(self) -> str:
        """Of the leaf."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.partition("-----END")[0] + _END)).hexdigest()

    @property
    def upload(self) -> dict[str, str]:
        """As the API takes it."""
        return {"certificate": self.certificate, "private_key": self.private_key}


_END = "-----END CERTIFICATE-----\n"


class Issuer:
    """A CA that clients trust."""

    def __init__(self) -> None:
        self.authority = trustme.CA()

    def issue(self, *names: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA, **more: Any) -> Issued:
        made = self.authority.issue_cert(*(names or (HOST,)), key_type=key_type, **more)
        return Issued(made.cert_chain_pems[0].bytes().decode(), made.private_key_pem.bytes().decode())

    def context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        context.minimum_version = context.maximum_version = version
        return context


class FaqNode(ClbProcess):
    """Begins with nothing to serve; `serve` puts load balancers into its file, `api` asks it."""

    def __init__(self, material: TlsMaterial, directory: Path) -> None:
        super().__init__(material, directory)
        self._real_server = 0
        self.state_dir = directory / "state"
        self.document: dict[str, Any] = {
            "node": {"state_dir": "state", "access_log": {"format": "off"}, "workers": 2, "name": "faq"},
            "admin": {"port": free_port()},
        }

    def __enter__(self) -> FaqNode:
        self.write()
        self._start()
        self.wait_for_line("ready", or_end=True)
        assert not self.has_ended, self.lines
        self.api = NodeClient(self.state_dir / "control.sock", WAIT_S)
        self._wait_for_the_store()
        return self

    def _wait_for_the_store(self) -> None:
        """It serves before it knows what the store has; nothing can be written until then."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            try:
                self.api.post("/v1/keyring/rewrap?dry_run=true", None)
            except NodeFault as fault:
                if fault.code == "starting":
                    time.sleep(0.02)
                    continue
            return
        raise AssertionError(self.lines)

    def clear(self, real_server: int) -> None:
        """Serve nothing and store nothing; from now on this is the real server."""
        self._real_server = real_server
        self.serve()
        for each in self.api.get(f"{CERTIFICATES}?owner=api")["certificates"]:
            self.api.ask("DELETE", f"{CERTIFICATES}/{each['id']}", None, {"If-Match": "*"})

    def write(self) -> None:
        """Write the file."""
        self.file.write_text(yaml.safe_dump(self.document))

    def upload(self, name: str, issued: Issued, **more: Any) -> dict[str, Any]:
        """Store a server certificate."""
        return self.api.post(CERTIFICATES, {"name": name, **issued.upload, **more})["certificate"]

    def upload_ca(self, name: str, authority: trustme.CA) -> dict[str, Any]:
        """Store a CA certificate."""
        body = {"name": name, "type": "ca", "certificate": authority.cert_pem.bytes().decode()}
        return self.api.post(CERTIFICATES, body)["certificate"]

    def replace(self, known: dict[str, Any], issued: Issued, **more: Any) -> dict[str, Any]:
        """Replace what was known so."""
        path = f"{CERTIFICATES}/{known['id']}/replace"
        answer = self.api.ask("POST", path, {**issued.upload, **more}, {"If-Match": f'"{known["version"]}"'})
        return answer["certificate"]

    def serve(self, **balancers: dict[str, Any]) -> dict[str, int]:
        """Have load balancers in the file, whose listeners show stored certificates; ports by listener.

        A balancer is `{listener: keys}`, with `region` beside them if it has one; certificates are named by id.
        """
        ports: dict[str, int] = {}
        names: dict[str, dict[str, Any]] = {}
        self.document["load_balancers"] = []
        for name, parts in balancers.items():
            listeners = []
            for listener, keys in parts.items():
                if listener != "region":
                    ports[listener] = free_port()
                    listeners.append(self._listener(listener, ports[listener], keys, names))
            region = {"region": parts["region"]} if "region" in parts else {}
            self.document["load_balancers"].append({"name": name, **region, "listeners": listeners})
        self.document["certificates"] = names
        self.write()
        self.api.post("/v1/reload", {})
        return ports

    def _listener(self, name: str, port: int, keys: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
        for key, kind in (("certificate", "server"), ("ca_certificate", "ca")):
            if (stored := keys.get(key)) is not None:
                names[stored] = {"type": kind, "stored": stored}
        rule = {"domain": HOST, "default": True, "targets": [{"address": "127.0.0.1", "port": self._real_server}]}
        return {"name": name, "address": "127.0.0.1", "port": port, "rules": [rule], **keys}

    def refusal(self, method: str, path: str, body: Any = None, **headers: str) -> NodeFault:
        """What the node says against it."""
        try:
            self.api.ask(method, path, body, headers)
        except NodeFault as fault:
            return fault
        raise AssertionError(f"{method} {path} was done")


def leaf(port: int, context: ssl.SSLContext, server_name: str = HOST) -> str:
    """The fingerprint of what a listener shows a client that checks it."""
    with (
        socket.create_connection(("127.0.0.1", port), WAIT_S) as raw,
        context.wrap_socket(raw, server_hostname=server_name) as sock,
    ):
        shown = sock.getpeercert(binary_form=True)
        assert shown is not None
        return hashlib.sha256(shown).hexdigest()


def status(port: int, context: ssl.SSLContext) -> int:
    """The status of a request on a connection of its own."""
    with (
        socket.create_connection(("127.0.0.1", port), WAIT_S) as raw,
        context.wrap_socket(raw, server_hostname=HOST) as sock,
    ):
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return int(sock.recv(65536).split(b" ")[1])


class Stream:
    """A client that asks on one connection again and again, beside others that make new ones all the time."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.shown: list[str] = []
        """What new connections were shown."""
        self.faults: list[BaseException] = []
        self._port, self._context = port, context
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._stay, self._come)]
        self.answers = 0
        """On the connection that stays."""

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _run(self, work: Any) -> None:
        try:
            work()
        except BaseException as fault:
            self.faults.append(fault)

    def _stay(self) -> None:
        with (
            socket.create_connection(("127.0.0.1", self._port), WAIT_S) as raw,
            self._context.wrap_socket(raw, server_hostname=HOST) as sock,
        ):
            while not self._stop.wait(0.01):
                sock.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                answer = sock.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                self.answers += 1

    def _come(self) -> None:
        while not self._stop.is_set():
            self.shown.append(leaf(self._port, self._context))
