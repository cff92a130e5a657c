"""A clb in this process with every kind of listener, so that its ledger can be read beside the observer's."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import TracebackType

import uvloop
from bundles import read_bundle
from cryptography import x509
from ledger_client import Client, observed_context
from ledger_real_server import RealServer
from ledger_relay import Relay, Relayed
from loop_thread import LoopThread
from tls_lab import VERSIONS, Authority, Issued, client_context, key_pem, rsa_key

from clb.config.models import NodeLimits
from clb.metering.counters import Traffic
from clb.metering.ledgers import ListenerLedger, LiveConnection
from clb.proxy.admission import NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.exchange import Exchange
from clb.proxy.listener import ListenerRuntime
from clb.proxy.node_share import NodeShare
from clb.proxy.sweep import Sweep
from clb.service.assembly import Assembly
from clb.service.bundle_files import BundleReader
from clb.service.steps import at_once
from clb.service.surroundings import Surroundings

LISTENERS = """
node: {{state_dir: {folder}/state}}
certificates:
  rsa: {{type: server, certificate: rsa.pem, private_key: rsa.key}}
  ecdsa: {{type: server, certificate: ecdsa.pem, private_key: ecdsa.key}}
  clients: {{type: ca, certificate: ca.pem}}
load_balancers:
  - name: shop
    listeners:
      - name: one_way
        address: 127.0.0.1
        port: 1
        sni: true
        certificates: [rsa, ecdsa]
        timeouts: &timeouts {{handshake: 700ms}}
        rules: &rules
          - {{domain: a.test, default: true, targets: &real [{{address: 127.0.0.1, port: {port}}}]}}
          - {{domain: a.test, url: /elsewhere, redirect: {{host: b.test}}}}
          - {{domain: b.test, targets: *real}}
          - {{domain: down.test, targets: [{{address: 127.0.0.1, port: 1}}]}}
      - name: mutual
        address: 127.0.0.1
        port: 2
        ssl_mode: mutual
        certificate: ecdsa
        ca_certificate: clients
        rules: *rules
      - name: proxied
        address: 127.0.0.1
        port: 3
        proxy_protocol: {{from: [127.0.0.0/8]}}
        certificate: ecdsa
        timeouts: *timeouts
        rules: *rules
      - name: impatient
        address: 127.0.0.1
        port: 5
        certificate: ecdsa
        timeouts: {{send: 500ms}}
        rules: *rules
      - name: impatient_plain
        protocol: http
        address: 127.0.0.1
        port: 6
        timeouts: {{send: 500ms}}
        rules: *rules
      - name: plain
        protocol: http
        address: 127.0.0.1
        port: 4
        timeouts: *timeouts
        rules: *rules
"""


class RecordingLedger(ListenerLedger):
    """The listener's own ledger, which also remembers what it was given for each connection."""

    def __init__(self) -> None:
        super().__init__()
        self._by_client: dict[int, Traffic] = {}
        self._changed = threading.Condition()

    def ended(self, connection: LiveConnection, traffic: Traffic) -> None:
        super().ended(connection, traffic)
        with self._changed:
            self._by_client[connection.client_port] = replace(traffic)  # type: ignore[attr-defined]
            self._changed.notify_all()

    def wait_for(self, client_port: int) -> Traffic:
        """The bytes of a connection, once it is closed."""
        with self._changed:
            assert self._changed.wait_for(lambda: client_port in self._by_client, timeout=20)
            return self._by_client.pop(client_port)


class Recorder:
    """Stands in for the access log and for the event log."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.reasons: Counter[str] = Counter()

    def record(self, record: Exchange) -> None:
        self.exchanges.append(record)

    def log(self, level: int, reason: str, message: str, **values: object) -> None:
        self.reasons[reason] += 1


class Lab:
    """Everything, running."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        self.log = Recorder()
        self.real_server = RealServer()
        self._clb = LoopThread(uvloop.new_event_loop)
        self._write_certificates(folder)
        file = folder / "clb.yaml"
        file.write_text(LISTENERS.format(folder=folder, port=self.real_server.port))
        outline, keys = read_bundle(file, BundleReader())
        clock = Clock(self._clb.loop.time)
        admission = NodeAdmission(NodeShare.alone(), NodeLimits(), self.log)
        surroundings = Surroundings(self._clb.loop, clock, self.log, self.log, b"k" * 32, admission)
        self.listeners: dict[str, ListenerRuntime] = {}
        self.ports: dict[str, int] = {}
        self.relays: dict[str, Relay] = {}
        self._assembly = Assembly(surroundings)
        at_once(self._assembly.activate(at_once(self._assembly.prepare(outline, keys))))
        for runtime in self._assembly.listeners.values():
            self._start(runtime)
        self._sweep = Sweep(self._clb.loop, (self._assembly.sweep,))
        self._clb.call(self._sweep.start)
        self._contexts: dict[tuple[str, bool, str], ssl.SSLContext] = {}

    def _write_certificates(self, folder: Path) -> None:
        names = [x509.DNSName("a.test"), x509.DNSName("b.test")]
        for name, key in (("rsa", rsa_key()), ("ecdsa", None)):
            issued = self.authority.issue(name, key=key, names=names)
            (folder / f"{name}.pem").write_bytes(issued.chain_pem)
            (folder / f"{name}.key").write_bytes(key_pem(issued.key))
        (folder / "ca.pem").write_bytes(self.authority.pem)

    def _start(self, runtime: ListenerRuntime) -> None:
        name = runtime.config.name
        runtime.ledger = RecordingLedger()
        self.listeners[name] = runtime
        sock = socket.create_server(("127.0.0.1", 0), backlog=128)  # For tests the system chooses the port.
        self.ports[name] = self._clb.run(runtime.accept_on(self._clb.loop, sock))
        self.relays[name] = Relay(self.ports[name])

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for relay in self.relays.values():
            relay.close()
        self._clb.call(self._sweep.stop)
        self._clb.call(self._assembly.close)
        self._clb.stop()
        self.real_server.close()

    # --- clients ---

    @cache  # noqa: B019 - one lab for the whole run
    def client_certificate(self) -> Issued:
        return self.authority.issue("client")

    def context(self, version: str, *, mutual: bool = False, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
        """One context for each kind of client, so that it can resume its sessions."""
        key = version, mutual, ciphers
        if key not in self._contexts:
            certificate = self.client_certificate() if mutual else None
            self._contexts[key] = observed_context(client_context(version, certificate, ciphers))
        return self._contexts[key]

    @cache  # noqa: B019
    def session(self, version: str, *, mutual: bool) -> ssl.SSLSession:
        """A session that the listener will resume."""
        listener = "mutual" if mutual else "one_way"
        client = Client(self.ports[listener], self.context(version, mutual=mutual))
        client.shake_hands(wait_for_tickets=version == "TLSv1.3")
        assert client.ssl_object is not None
        session = client.ssl_object.session
        assert session is not None
        client.say_goodbye()
        client.finish()
        self.ledger(listener).wait_for(client.port)
        return session

    # --- clb's side ---

    def ledger(self, listener: str) -> RecordingLedger:
        ledger = self.listeners[listener].ledger
        assert isinstance(ledger, RecordingLedger)
        return ledger

    def snapshot(self, listener: str) -> Traffic:
        """The listener's sums as of now, open connections included."""
        return self._clb.call(self.ledger(listener).snapshot)

    def rule_sums(self, listener: str, domain: str) -> tuple[int, int, int]:
        """Requests and HTTP bytes in and out of the first rule for a domain as of now, open exchanges included."""
        runtime = self.listeners[listener]
        rule = next(rule for rule in runtime.rules if rule.config.domain == domain)
        return self._clb.call(lambda: (rule.requests, rule.billed_in, rule.billed_out))

    def observed(self, listener: str, client: Client) -> tuple[Relayed, Traffic]:
        """What the relay saw of a closed connection, and what clb's ledger says of it."""
        relayed = self.relays[listener].of(client.port)
        relayed.wait_until_over()
        return relayed, self.ledger(listener).wait_for(relayed.port_to_clb)


__all__ = ["VERSIONS", "Lab"]
