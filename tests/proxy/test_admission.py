"""Which connections are taken: caps and rates of the node, sources, lists, what gives way to what."""

from __future__ import annotations

import logging

import pytest
from node_pair import two_workers
from raw_client import request

from clb.config.models import NodeLimits

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
TRUSTED = {"from": ["127.0.0.0/8"]}
SLOWLY = {"rate": "1/h"}
"""A rate that lets one through, and no other for as long as a test lasts."""


def announced(address: str) -> bytes:
    family = "TCP6" if ":" in address else "TCP4"
    return f"PROXY {family} {address} {'::1' if ':' in address else '10.0.0.1'} 1000 443\r\n".encode()


def is_taken(proxy, protocol="https", address: str | None = None) -> bool:
    """Whether a new client gets an answer. It stays connected."""
    try:
        return proxy.connect(protocol, prefix=announced(address) if address else b"").ask().status == 200
    except (OSError, EOFError):
        return False


def refused(proxy) -> dict[str, int]:
    return proxy.call(lambda: dict(proxy.listener.ledger.refused))


# --- caps ---


@PROTOCOLS
def test_a_listener_is_full_and_has_room_again(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], limits={"connections": 2})
    clients = [proxy.connect(protocol) for _ in range(2)]
    assert [client.ask().status for client in clients] == [200, 200]
    assert not is_taken(proxy, protocol)
    clients[0].close()
    proxy.wait_until(lambda: len(proxy.listener.connections) == 1)
    assert is_taken(proxy, protocol)
    assert refused(proxy) == {"connections": 1}
    assert [event[1:] for event in proxy.events.events] == [("connections", "connection refused")]


def test_a_listener_is_full_for_all_workers_together(serve, real_server):
    shares = two_workers()
    proxies = [serve(share=share, targets=[real_server.port], limits={"connections": 3}) for share in shares]
    assert [is_taken(proxies[number]) for number in (0, 1, 1, 0, 1)] == [True, True, True, False, False]


def test_a_node_is_full_whatever_its_listeners_still_take(serve, real_server):
    rules = [{"domain": "shop.example.com", "default": True, "targets": [target(real_server)]}]
    listeners = [{"protocol": "https", "rules": rules}, {"protocol": "http", "port": 80, "rules": rules}]
    proxy = serve(node={"limits": {"connections": 2}}, listeners=listeners)
    assert [is_taken(proxy, protocol) for protocol in ("https", "http", "http", "https")] == [True, True, False, False]
    assert [one.ledger.refused["node_connections"] for one in proxy.listeners.values()] == [1, 1]


def target(server):
    return {"address": "127.0.0.1", "port": server.port}


# --- sources ---


@PROTOCOLS
def test_a_source_has_its_share(serve, real_server, protocol):
    limits = {"connections_per_source": 2}
    proxy = serve(protocol=protocol, targets=[real_server.port], limits=limits, proxy_protocol=TRUSTED)
    assert [is_taken(proxy, protocol, "192.0.2.1") for _ in range(3)] == [True, True, False]
    assert is_taken(proxy, protocol, "192.0.2.2")
    assert refused(proxy) == {"source_connections": 1}


def test_a_source_gets_back_what_it_gives_back(serve, real_server):
    proxy = serve(targets=[real_server.port], limits={"connections_per_source": 1})
    for _ in range(3):
        client = proxy.connect()
        assert client.ask().status == 200
        assert not is_taken(proxy)
        client.close()
        proxy.wait_until(lambda: not proxy.listener.connections)


def test_a_source_has_its_share_of_all_workers_together(serve, real_server):
    keys = {"targets": [real_server.port], "limits": {"connections_per_source": 2}, "proxy_protocol": TRUSTED}
    proxies = [serve(share=share, **keys) for share in two_workers()]
    assert [is_taken(proxies[number], address="192.0.2.1") for number in (0, 1, 0, 1)] == [True, True, False, False]
    assert is_taken(proxies[0], address="192.0.2.2")


SAME_SOURCE = {  # case: (limits, two addresses, whether they are one)
    "a_64_of_v6": ({}, ("2001:db8::1", "2001:db8::2"), True),
    "two_64_of_v6": ({}, ("2001:db8::1", "2001:db8:0:1::1"), False),
    "a_48_if_asked_for": ({"source_prefix_v6": 48}, ("2001:db8::1", "2001:db8:0:1::1"), True),
    "a_24_if_asked_for": ({"source_prefix_v4": 24}, ("192.0.2.1", "192.0.2.99"), True),
}


@pytest.mark.parametrize(("limits", "addresses", "is_one"), SAME_SOURCE.values(), ids=SAME_SOURCE)
def test_what_makes_a_source(serve, real_server, limits, addresses, is_one):
    limits = {"connections_per_source": 1, **limits}
    proxy = serve(targets=[real_server.port], limits=limits, proxy_protocol=TRUSTED)
    assert [is_taken(proxy, address=address) for address in addresses] == [True, not is_one]


LISTS = {  # case: (access, who is let in)
    "deny": ({"deny": ["192.0.2.0/24"]}, [False, True, True]),
    "allow": ({"allow": ["192.0.2.0/24"]}, [True, False, False]),
    "both": ({"allow": ["0.0.0.0/0"], "deny": ["192.0.2.1"]}, [False, True, False]),
}


@PROTOCOLS
@pytest.mark.parametrize(("access", "expected"), LISTS.values(), ids=LISTS)
def test_lists_hold_for_whom_the_proxy_header_names(serve, real_server, protocol, access, expected):
    proxy = serve(protocol=protocol, targets=[real_server.port], access=access, proxy_protocol=TRUSTED)
    addresses = ("192.0.2.1", "198.51.100.1", "2001:db8::1")
    assert [is_taken(proxy, protocol, address) for address in addresses] == expected
    assert refused(proxy) == {"access_denied": expected.count(False)}


def test_who_is_denied_is_cut_off_before_a_handshake(serve, real_server):
    proxy = serve(targets=[real_server.port], access={"deny": ["127.0.0.0/8"]})
    with pytest.raises(OSError):  # A reset may come before the client has set its socket up.
        proxy.connect(context=None).receive()
    assert proxy.listener.ledger.handshakes_failed == {}


def test_what_stands_behind_the_header_of_one_who_is_denied_is_not_read(serve, real_server):
    keys = {"access": {"deny": ["192.0.2.1"]}, "proxy_protocol": TRUSTED}
    proxy = serve(protocol="http", targets=[real_server.port], **keys)
    client = proxy.connect("http")
    client.send(announced("192.0.2.1") + request())
    with pytest.raises(ConnectionResetError):
        client.receive()
    assert real_server.requests == []


# --- rates ---


@pytest.mark.parametrize("key", ["accept_rate", "handshake_rate"])
def test_a_rate_is_of_all_workers_together(serve, real_server, key):
    keys = {"targets": [real_server.port], "limits": {key: {"burst": 3, **SLOWLY}}}
    proxies = [serve(share=share, **keys) for share in two_workers()]
    assert [is_taken(proxies[number]) for number in (0, 1, 1, 0, 1)] == [True, True, True, False, False]
    assert refused(proxies[0]) == {key: 1}


@pytest.mark.parametrize("key", ["accept_rate", "handshake_rate"])
def test_each_source_has_its_own_rate(serve, real_server, key):
    limits = {f"{key}_per_source": SLOWLY}
    proxy = serve(targets=[real_server.port], limits=limits, proxy_protocol=TRUSTED)
    addresses = ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2")
    assert [is_taken(proxy, address=address) for address in addresses] == [True, False, True, False]
    assert refused(proxy) == {f"source_{key}": 2}


def test_a_rate_recovers(serve, real_server):
    proxy = serve(targets=[real_server.port], limits={"accept_rate": {"rate": "20/s", "burst": 1}})
    assert is_taken(proxy)
    tries = 1
    while not is_taken(proxy):
        tries += 1
    assert tries > 1


def test_who_sends_nothing_uses_up_no_handshake(serve, real_server):
    proxy = serve(targets=[real_server.port], limits={"handshake_rate": SLOWLY})
    silent = [proxy.connect(context=None) for _ in range(5)]
    proxy.wait_until(lambda: len(proxy.listener.connections) == len(silent))
    assert is_taken(proxy)


# --- what gives way ---


def test_the_oldest_handshake_makes_room_for_the_next(serve, real_server):
    proxy = serve(targets=[real_server.port], limits={"handshakes": 3})
    silent = [proxy.connect(context=None) for _ in range(3)]
    proxy.wait_until(lambda: len(proxy.listener.connections) == 3)
    assert is_taken(proxy)
    with pytest.raises(ConnectionResetError):
        silent[0].receive()
    assert refused(proxy) == {"handshakes": 1}
    assert is_taken(proxy)  # The one that is done counts no more.
    assert refused(proxy) == {"handshakes": 1}


def test_a_late_worker_takes_nobody_new_and_serves_whom_it_has(serve, real_server):
    proxy = serve(targets=[real_server.port], node={"limits": {"loop_lag": "100ms"}})
    old = proxy.connect()
    assert old.ask().status == 200
    proxy.lag_s = 0.15
    proxy.wait_until(lambda: proxy.admission.saturation.is_saturated)
    assert not is_taken(proxy)
    assert old.ask().status == 200
    proxy.lag_s = 0.0
    proxy.wait_until(lambda: not proxy.admission.saturation.is_saturated)
    assert is_taken(proxy)
    assert refused(proxy) == {"saturated": 1}
    told = [event for event in proxy.events.events if event[1] == "saturated"]
    assert [event[2] for event in told if event[0] == logging.WARNING] == [
        "new connections are refused",
        "connection refused",
        "new connections are taken again",
    ]


@pytest.fixture
def crowded(serve, real_server, monkeypatch):
    """A proxy whose descriptors are about to run out, and one client of each kind, the best reason to stay last."""
    monkeypatch.setattr("clb.proxy.downstream.SPARED_S", 0.0)
    proxy = serve(targets=[real_server.port])
    half_open, silent, slow, idle = (proxy.connect(context=context) for context in (None, *[_context(proxy)] * 3))
    assert idle.ask().status == 200
    slow.send(b"GET / HTT")
    proxy.wait_until(lambda: sum(bool(one._buffer) for one in proxy.listener.connections) == 1)
    return proxy, [half_open, silent, slow, idle]


def _context(proxy):
    return proxy._material.client_context()


def _is_open(proxy, client) -> bool:
    port = client.sock.getsockname()[1]
    return proxy.call(lambda: port in {one.client_port for one in proxy.listener.connections})


def test_what_can_be_spared_is_closed_for_what_is_new(crowded, monkeypatch):
    proxy, clients = crowded
    busy = proxy.connect()
    busy.send(b"POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\n\r\n")
    proxy.wait_until(lambda: any(one.exchange is not None for one in proxy.listener.connections))
    proxy.call(lambda: setattr(proxy.admission, "sweep", lambda *_: None))
    proxy.admission.descriptors.most_connections = 5
    for number, client in enumerate(clients):
        assert is_taken(proxy)
        proxy.wait_until(lambda: len(proxy.listener.connections) == 5)
        still_open = [_is_open(proxy, one) for one in clients]
        assert still_open == [False] * (number + 1) + [True] * (3 - number), client
    busy.send(b"12345")
    assert busy.read_answer().status == 200
    assert refused(proxy) == {"made_room": 4}


def test_nobody_is_closed_who_has_just_done_something(serve, real_server):
    proxy = serve(targets=[real_server.port])
    client = proxy.connect()
    assert client.ask().status == 200
    proxy.call(lambda: setattr(proxy.admission, "sweep", lambda *_: None))
    proxy.admission.descriptors.most_connections = 1
    assert not is_taken(proxy)
    assert client.ask().status == 200
    assert refused(proxy) == {"descriptors": 1}


def test_a_sweep_closes_what_is_too_much(crowded, monkeypatch):
    proxy, clients = crowded
    monkeypatch.setattr(proxy.admission.descriptors, "look", lambda *_: None)
    proxy.admission.descriptors.most_connections = 1
    proxy.wait_until(lambda: len(proxy.listener.connections) == 1)
    assert [_is_open(proxy, one) for one in clients] == [False, False, False, True]
    assert clients[3].ask().status == 200


def test_the_nodes_limits_change_while_it_serves(serve, real_server):
    proxy = serve(targets=[real_server.port])
    assert is_taken(proxy)
    proxy.call(lambda: proxy.admission.configure(NodeLimits(connections=1, loop_lag="1s", descriptor_reserve=0.5)))
    assert not is_taken(proxy)
    assert proxy.admission.saturation.threshold_s == 1.0
    proxy.call(lambda: proxy.admission.configure(NodeLimits()))
    assert is_taken(proxy)
