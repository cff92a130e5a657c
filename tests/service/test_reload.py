"""Everything changes, again and again, under clients that must not notice."""

from __future__ import annotations

import ssl
from itertools import cycle, islice

import pytest
from live_proxy import rule, site
from load import Load
from raw_client import Client, request
from real_server import RealServer
from test_tunnel import SWITCHING, UPGRADE
from workers import Workers

ROUNDS = 2
"""How often each kind of change takes place."""
MANY_ROUNDS = 40


def echo(conversation):
    conversation.read_head()
    conversation.send(SWITCHING)
    while data := conversation.read_until(b"\n"):
        conversation.send(data)


class Site:
    """Documents that differ from each other in one kind of thing."""

    def __init__(self, material, servers, chat):
        self.material = material
        self.a, self.b, self.c = (server.port for server in servers)
        self.chat = rule(chat.port, url="/chat", default=False)

    def document(self, *, rules=None, others=(), certificates=(), **keys):
        listener = {"protocol": "https", "rules": [self.chat, *(rules or [rule(self.a, self.b)])], **keys}
        document = site(self.material, listeners=[listener, *others])
        document["certificates"]["web"].update(certificates)
        return document

    def changes(self):
        """One document after another, by the name of what changes."""
        weights = [
            {"address": "127.0.0.1", "port": self.a, "weight": 7},
            {"address": "127.0.0.1", "port": self.b, "weight": 1},
        ]
        renewed = {
            "certificate": str(self.material.renewed_certificate),
            "private_key": str(self.material.renewed_key),
        }
        more = {"name": "https-more", "protocol": "https", "port": 444, "rules": [rule(self.c)]}
        plain = {"name": "http", "protocol": "http", "port": 80, "rules": [rule(self.c)]}
        return {
            "target_added": self.document(rules=[rule(self.a, self.b, self.c)]),
            "target_removed": self.document(rules=[rule(self.c)]),
            "all_targets_replaced": self.document(rules=[rule(self.a)]),
            "weights": self.document(rules=[{**rule(), "targets": weights}]),
            "scheduler": self.document(rules=[rule(self.a, self.b, scheduler="least_conn")]),
            "sessions": self.document(rules=[rule(self.a, self.b, session={"expire": "1h"})]),
            "rule_added": self.document(rules=[rule(self.a), rule(self.b, url="/b", default=False)]),
            "rule_removed": self.document(rules=[rule(self.a)]),
            "rule_replaced": self.document(rules=[rule(self.a, url="^~/")]),
            "timeouts": self.document(timeouts={"connect": "2s", "keepalive": "30s"}),
            "limits": self.document(limits={"headers": 40, "keepalive_requests": 50}),
            "pool": self.document(rules=[rule(self.a, self.b, pool={"idle": 1})]),
            "certificate": self.document(certificates=renewed),
            "certificate_back": self.document(),
            "listener_added": self.document(others=[more, plain]),
            "listener_removed": self.document(),
            "guard": self.document(desync_guard="enforce"),
            "trusted": self.document(trusted_proxies=["127.0.0.0/8"]),
        }


@pytest.fixture
def servers(closing):
    return [closing.enter_context(RealServer()) for _ in range(3)]


@pytest.fixture
def layout(material, servers, closing):
    return Site(material, servers, closing.enter_context(RealServer(script=echo)))


def upgraded(workers, closing, **options):
    client = closing.enter_context(workers.connect(**options))
    client.send(request("/chat", fields=UPGRADE))
    assert client.read_answer().status == 101
    return client


def run(workers, documents, load):
    """Change over to one document after the other, each under some requests at least."""
    for document in documents:
        before = load.requests + load.connections
        workers.change(document)
        assert not load.failures, load.failures
        while load.connections + load.requests < before + 5 and not load.failures:
            pass


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(MANY_ROUNDS, marks=pytest.mark.slow)])
def test_nobody_notices_any_change(material, tmp_path, layout, closing, rounds):
    changes = layout.changes()
    workers = closing.enter_context(Workers(material, tmp_path, workers=2))
    workers.change(layout.document())
    versions = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    tickets = []
    for context in (material.client_context(version=version) for version in versions):
        with workers.connect(context=context) as client:
            client.ask()
            tickets.append((context, client.tls.session))
    tunnels = [upgraded(workers, closing) for _ in range(4)]
    with Load() as load:
        load.keep_alive(workers.connect, 4)
        load.new_connections(workers.connect, 2)
        for client in tunnels:
            load.chat(client)
        run(workers, islice(cycle(changes.values()), rounds * len(changes)), load)
    assert load.failures == []
    for context, session in tickets:
        resumed = []
        for _ in range(12):  # the kernel chooses the worker
            with workers.connect(context=context, session=session) as client:
                assert client.ask().status == 200
                resumed.append(client.tls.session_reused)
        assert all(resumed)
    print(f"\n{rounds * len(changes)} changes under {load.requests} requests on {load.connections} connections")


def test_what_sessions_stand_on_changes(material, tmp_path, layout, closing):
    """Every connection ends soon, none of them without a word."""
    documents = [
        layout.document(tls_policy="modern"),
        layout.document(ssl_mode="mutual", ca_certificate="partners", verify_client="optional"),
        layout.document(tls_policy="intermediate"),
        layout.document(),
    ]
    workers = closing.enter_context(Workers(material, tmp_path, workers=2))
    workers.change(layout.document())
    tunnel = upgraded(workers, closing)
    with Load() as load:
        load.keep_alive(workers.connect, 4)
        load.new_connections(workers.connect, 2)
        load.chat(tunnel)
        run(workers, islice(cycle(documents), 2 * len(documents)), load)
    assert load.failures == []


def test_a_listener_comes_and_goes_under_its_clients(material, tmp_path, layout, servers, closing):
    """Nobody who is let in is reset: neither who is being served, nor who waits to be accepted."""
    front = {"name": "http", "protocol": "http", "port": 80, "rules": [rule(servers[2].port)]}
    workers = closing.enter_context(Workers(material, tmp_path, workers=2))
    port = 0

    def connect():
        return Client(port)

    with Load() as load:
        for _ in range(4):
            workers.change(layout.document(others=[front]))
            port = workers.ports["http"]
            if not load.requests:
                load.whoever_gets_in(connect, 4)
            served = load.requests
            while load.requests < served + 20 and not load.failures:
                pass
            workers.change(layout.document())
    assert load.failures == []
    assert load.requests >= 80


def test_a_listener_moves_to_another_port(material, tmp_path, layout, closing):
    workers = closing.enter_context(Workers(material, tmp_path, workers=2))
    workers.change(layout.document())
    client = closing.enter_context(workers.connect())
    tunnel = upgraded(workers, closing)
    assert client.ask().status == 200
    old_port, old_sockets = workers.ports["https"], workers._sockets.pop("lb/https")
    workers.change(layout.document(port=8443))  # the test's sockets are new, and on a port of their own
    for sock in old_sockets:
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        Client(old_port)
    assert closing.enter_context(workers.connect()).ask().status == 200
    assert client.ask().status == 200
    tunnel.send(b"still there\n")
    assert tunnel.read_until(b"\n") == b"still there\n"
