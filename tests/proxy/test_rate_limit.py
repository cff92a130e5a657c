"""Requests a second: who is counted together, what those above it are told, and that the node is one."""

from __future__ import annotations

import pytest
from live_proxy import rule
from node_pair import two_workers

SLOWLY = {"rate": "1/h"}


def statuses(client, count: int, fields: str = "", path: str = "/") -> list[int]:
    return [client.ask(path, fields=fields).status for _ in range(count)]


@pytest.mark.parametrize("protocol", ["https", "http"])
def test_a_burst_and_then_429(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port], rate_limits=[{"rate": "1/m", "burst": 2}])
    client = proxy.connect(protocol)
    assert statuses(client, 2) == [200, 200]
    answer = client.ask()
    assert answer.status == 429
    assert 50 <= int(answer.one(b"retry-after")) <= 60
    assert answer.all(b"connection") == []
    assert statuses(client, 1) == [429]
    assert len(real_server.requests) == 2
    assert proxy.listener.ledger.refused == {"rate_limited": 2}
    line = proxy.log_lines(4)[2]
    assert (line["status"], line["error_reason"]) == (429, "rate_limited")
    assert ("rate_limited", "request refused") in [event[1:] for event in proxy.events.events]


def test_tokens_come_back(serve, real_server):
    client = serve(targets=[real_server.port], rate_limits=[{"rate": "50/s", "burst": 1}]).connect()
    assert statuses(client, 1) == [200]
    asked = 1
    while statuses(client, 1) != [200]:
        asked += 1
    assert asked > 1


def test_a_body_that_is_not_wanted_any_more(serve, real_server):
    client = serve(targets=[real_server.port], rate_limits=[SLOWLY]).connect()
    assert client.ask().status == 200
    answer = client.ask(method="POST", body=b"x" * 100_000)
    assert (answer.status, answer.one(b"connection")) == (429, b"close")


def test_the_node_is_one(serve, real_server):
    keys = {"targets": [real_server.port], "rate_limits": [{"burst": 3, **SLOWLY}]}
    clients = [serve(share=share, **keys).connect() for share in two_workers()]
    assert [clients[number].ask().status for number in (0, 1, 1, 0, 1)] == [200, 200, 200, 429, 429]


# --- whose bucket ---


def forwarded(address: str) -> str:
    return f"X-Forwarded-For: {address}\r\n"


SOURCES = {  # case: (limit, fields of two requests, whether they are of one bucket)
    "behind_a_trusted_proxy": ({}, (forwarded("192.0.2.1"), forwarded("192.0.2.2")), False),
    "one_client_behind_it": ({}, (forwarded("192.0.2.1"), forwarded("192.0.2.1")), True),
    "what_a_client_made_up": ({}, (forwarded("1.1.1.1, 192.0.2.1"), forwarded("2.2.2.2, 192.0.2.1")), True),
    "one_network": ({"prefix_v4": 24}, (forwarded("192.0.2.1"), forwarded("192.0.2.2")), True),
    "a_64_of_v6": ({}, (forwarded("2001:db8::1"), forwarded("2001:db8::2")), True),
    "all": ({"key": "all"}, (forwarded("192.0.2.1"), forwarded("192.0.2.2")), True),
    "two_keys": ({"key": "header", "header": "X-Api-Key"}, ("X-Api-Key: a\r\n", "x-api-key: b\r\n"), False),
    "one_key": (
        {"key": "header", "header": "X-Api-Key"},
        (forwarded("192.0.2.1") + "X-Api-Key: a\r\n", forwarded("192.0.2.2") + "x-api-key: a\r\n"),
        True,
    ),
    "no_key": ({"key": "header", "header": "X-Api-Key"}, (forwarded("192.0.2.1"), forwarded("192.0.2.1")), True),
    "a_key_that_looks_like_a_source": (
        {"key": "header", "header": "X-Api-Key"},
        (forwarded("192.0.2.1"), forwarded("192.0.2.9") + "X-Api-Key: 4/c0000201\r\n"),
        False,
    ),
}


@pytest.mark.parametrize(("limit", "fields", "is_one"), SOURCES.values(), ids=SOURCES)
def test_whose_bucket(serve, real_server, limit, fields, is_one):
    keys = {"trusted_proxies": ["127.0.0.0/8"], "rate_limits": [{**SLOWLY, **limit}]}
    client = serve(targets=[real_server.port], **keys).connect()
    assert [client.ask(fields=one).status for one in fields] == [200, 429 if is_one else 200]


def test_who_is_not_trusted_has_one_bucket_whatever_he_says(serve, real_server):
    client = serve(targets=[real_server.port], rate_limits=[SLOWLY]).connect()
    assert [client.ask(fields=forwarded(f"192.0.2.{number}")).status for number in (1, 2)] == [200, 429]


def test_who_is_over_his_own_rate_uses_up_nothing_of_what_is_for_all(serve, real_server):
    limits = [{"key": "all", "burst": 2, **SLOWLY}, SLOWLY]
    client = serve(targets=[real_server.port], rate_limits=limits, trusted_proxies=["127.0.0.0/8"]).connect()
    assert statuses(client, 5, forwarded("192.0.2.1")) == [200, 429, 429, 429, 429]
    assert statuses(client, 1, forwarded("192.0.2.2")) == [200]
    assert statuses(client, 1, forwarded("192.0.2.3")) == [429]


def test_keys_without_end_are_not_kept(serve, real_server, monkeypatch):
    monkeypatch.setattr("clb.proxy.node_share.REMEMBERED_KEYS", 2)
    monkeypatch.setattr("clb.proxy.request_gate.REMEMBERED_KEYS", 2)
    limits = [{"key": "header", "header": "X-Api-Key", **SLOWLY}, SLOWLY]
    keys = {"rate_limits": limits, "trusted_proxies": ["127.0.0.0/8"], "access": {}}
    proxy = serve(targets=[real_server.port], **keys)
    client = proxy.connect()
    long_key = "k" * 500
    for number in range(6):
        fields = forwarded(f"192.0.2.{number}") + f"X-Api-Key: {long_key}{number}\r\n"
        assert [client.ask(fields=fields).status for _ in range(2)] == [200, 429]
    for rate in proxy.listener.gate._rates:
        assert len(rate._rate._fingerprints) <= 2
        assert len(rate._sources) <= 2


# --- where ---


def test_a_listener_counts_what_no_rule_takes_and_a_rule_its_own(serve, real_server):
    rules = [
        rule(real_server.port),
        {**rule(real_server.port, default=False, url="/few"), "rate_limits": [{"burst": 2, **SLOWLY}]},
        {**rule(real_server.port, default=False, domain="other.example.com", url="/only")},
    ]
    client = serve(rules=rules, rate_limits=[{"burst": 6, **SLOWLY}]).connect()
    assert statuses(client, 3, path="/few") == [200, 200, 429]
    assert statuses(client, 1) == [200]
    assert statuses(client, 1, path="/few/more") == [429]
    assert statuses(client, 1, path="/%00") == [400]


def test_a_rule_that_redirects_has_rates_too(serve):
    rules = [
        {
            "domain": "shop.example.com",
            "default": True,
            "redirect": {"host": "other.example.com"},
            "rate_limits": [SLOWLY],
        }
    ]
    client = serve(rules=rules).connect()
    assert statuses(client, 2, path="/a") == [301, 429]


def test_log_only_counts_and_lets_pass(serve, real_server):
    proxy = serve(targets=[real_server.port], rate_limits=[{"log_only": True, **SLOWLY}])
    assert statuses(proxy.connect(), 3) == [200, 200, 200]
    assert proxy.listener.ledger.refused == {"rate_limit_log_only": 2}
    assert [event[1:] for event in proxy.events.events] == [("rate_limit_log_only", "would be refused")] * 2


def test_a_rules_list_answers_403(serve, real_server, monkeypatch):
    monkeypatch.setattr("clb.proxy.request_gate.REMEMBERED_KEYS", 1)
    rules = [{**rule(real_server.port), "access": {"allow": ["192.0.2.0/24"], "deny": ["192.0.2.9"]}}]
    proxy = serve(rules=rules, trusted_proxies=["127.0.0.0/8"])
    client = proxy.connect()
    asked = [client.ask(fields=forwarded(f"192.0.2.{number}")).status for number in (1, 9, 1)]
    assert [*asked, client.ask().status] == [200, 403, 200, 403]
    assert proxy.listener.ledger.refused == {"access_denied": 2}
