"""`/v1/explain`: each step's answer, and that certain choices are the data path's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from control_lab import SHOP, SITE, Lab

from clb.balancing.candidate import Candidate
from clb.balancing.ip_hash import IpHash
from clb.balancing.maglev import Maglev
from clb.balancing.stickiness import SessionPolicy
from clb.metering.cells import TargetField, TargetState, target_key


def ask(lab: Lab, url: str, **keys: Any) -> Any:
    response = lab.request("POST", "/v1/explain", json={"url": url, **keys})
    assert response.status_code == 200, response.text
    return response.json()


def test_a_request_from_end_to_end(lab):
    lab.set_state(target_key(SHOP, "10.0.0.2:80"), TargetState.UNHEALTHY)
    answer = ask(lab, "https://shop.example.com/a/../cart?x=1")
    assert (answer["listener"]["load_balancer"], answer["listener"]["listener"]) == ("shop", "https")
    assert answer["listener"]["why"] == "https on port 443"
    assert answer["certificate"]["certificates"] == ["web"]
    assert answer["certificate"]["why"] == "it names shop.example.com"
    assert answer["certificate"]["covers_host"] is True
    assert answer["tls"] == {
        "policy": "documented",
        "versions": "TLSv1 to TLSv1.3",
        "client_certificate": "required, signed by partners",
    }
    route = answer["route"]
    assert (route["host"], route["path"], route["domain"], route["url"]) == (
        "shop.example.com", "/cart", "shop.example.com", "/",
    )  # fmt: skip
    assert [(b["domain"], b["url"]) for b in route["beaten"]] == [("*.example.com", "/")]
    candidates = {c["target"]: c for c in answer["candidates"]}
    assert [(c["takes_work"], c["share"]) for c in candidates.values()] == [(True, 1.0), (False, 0.0), (False, 0.0)]
    assert candidates["10.0.0.2:80"]["state"] == "unhealthy"
    assert "weight 0" in candidates["[fd00::3]:80"]["why"]
    assert answer["choice"]["target"] is None or answer["choice"]["order"] == ["10.0.0.1:80"]
    assert answer["verdict"] == {"outcome": "forwarded", "status": None, "text": "forwarded to 10.0.0.1:80"}
    assert {"name": "limits.connections", "value": "20000"} in answer["limits"]
    assert {"name": "retry.attempts", "value": "2"} in answer["limits"]


CERTIFICATES = {
    "wildcard": ("https://www.example.com/", ["wild"], "its wildcard covers the name", True),
    "default": ("https://other.test/", ["web"], "no certificate of the listener is for other.test", False),
    "address": ("https://127.0.0.1/", ["web"], "no server name is sent for an address", False),
}


@pytest.mark.parametrize(("url", "names", "why", "covers"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificates(lab, url, names, why, covers):
    certificate = ask(lab, url)["certificate"]
    assert certificate["certificates"] == names
    assert why in certificate["why"]
    assert certificate["covers_host"] is covers


def test_a_host_header_chooses_the_rule_and_the_url_the_certificate(lab):
    answer = ask(lab, "https://www.example.com/", headers=[["Host", "shop.example.com"]])
    assert answer["certificate"]["certificates"] == ["wild"]
    assert answer["route"]["domain"] == "shop.example.com"


VERDICTS = {
    "not_found": ("https://only.example.org/x", {}, "not_found", 404, "none of its rules is for this path"),
    "above_the_root": ("https://shop.example.com/../x", {}, "refused", 400, "bad_target"),
    "method_unknown": ("https://shop.example.com/", {"method": "BREW"}, "refused", 501, "method_unknown"),
    "two_hosts": (
        "https://shop.example.com/",
        {"headers": [["Host", "a.test"], ["host", "b.test"]]},
        "refused",
        400,
        "bad_host",
    ),
    "line_break": ("https://shop.example.com/", {"headers": [["X", "a\r\nY: b"]]}, "refused", 400, "bad_h"),
    "long_target": ("https://shop.example.com/" + "x" * 8160, {}, "forwarded", None, "forwarded"),
    "nobody": ("https://shop.example.com/nobody", {}, "unavailable", 503, "no target that takes new work"),
    "loop": ("https://other.test/loop", {}, "not_found", 404, "would never end"),
    "asterisk": ("https://shop.example.com/", {"method": "OPTIONS"}, "forwarded", None, "forwarded"),
}


@pytest.mark.parametrize(("url", "keys", "outcome", "status", "text"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(lab, url, keys, outcome, status, text):
    verdict = ask(lab, url, **keys)["verdict"]
    assert (verdict["outcome"], verdict["status"]) == (outcome, status)
    assert text in verdict["text"]


REDIRECTS = {
    "rule": ("https://shop.example.com/old?q", 308, "https://shop.example.com/new"),
    "slash": ("https://shop.example.com/docs?q=1", 301, "https://shop.example.com/docs/?q=1"),
    "scheme": ("http://a.test/x", 301, "https://a.test/x"),
}


@pytest.mark.parametrize(("url", "status", "location"), REDIRECTS.values(), ids=REDIRECTS)
def test_redirects(lab, url, status, location):
    answer = ask(lab, url)
    assert (answer["redirect"]["status"], answer["redirect"]["location"]) == (status, location)
    assert answer["verdict"]["text"] == f"{status} to {location}"
    assert answer["candidates"] == []


HASHED = {  # case: (path, headers, key, what is said of it)
    "source": ("/by-source", [], b"192.0.2.1", "by a hash of the client's address (192.0.2.1)"),
    "header": ("/by-header", [["X-User", "anna"]], b"anna", "by a hash of the header x-user, or"),
    "header_missing": ("/by-header", [], b"192.0.2.1", "address where it is missing (192.0.2.1)"),
    "cookie": ("/by-cookie", [["Cookie", "a=b; cart=17"]], b"17", "by a hash of the cookie cart, or"),
    "path": ("/by-path/x?q=1", [], b"/by-path/x", "by a hash of the path (/by-path/x)"),
    "url": ("/by-url?q=1", [], b"/by-url?q=1", "by a hash of path and query (/by-url?q=1)"),
}


@pytest.mark.parametrize(("path", "headers", "key", "how"), HASHED.values(), ids=HASHED)
def test_a_consistent_hash_is_certain_and_the_workers_own(lab, path, headers, key, how):
    answer = ask(lab, f"https://shop.example.com{path}", headers=headers, client="192.0.2.1")
    workers = Maglev([Candidate(f"10.0.0.{number}", 80, 10, None) for number in (1, 2, 3)])
    chosen = workers.choose(key)
    assert chosen is not None
    assert answer["choice"]["target"] == chosen.identity
    assert how in answer["choice"]["how"]
    assert len(answer["choice"]["order"]) == 3


def test_latency_and_work_under_way_order_the_choice_of_two(lab):
    for number, latency_us, in_flight in ((1, 90_000, 0), (2, 10_000, 2), (3, 20_000, 4)):
        key = target_key(f"{SHOP}p2c", f"10.0.0.{number}:80")
        lab.set_cell(key, TargetField.LATENCY_US, latency_us)
        lab.set_cell(key, TargetField.IN_FLIGHT, in_flight)
    choice = ask(lab, "https://shop.example.com/p2c")["choice"]
    assert choice["order"] == ["10.0.0.2:80", "10.0.0.1:80", "10.0.0.3:80"]
    assert choice["target"] is None


@pytest.mark.parametrize("client", ["192.0.2.1", "192.0.2.77", "2001:db8::1", "::ffff:192.0.2.1"])
def test_a_hash_is_certain_and_the_workers_own(lab, client):
    answer = ask(lab, "https://shop.example.com/hash", client=client)
    workers = IpHash([Candidate("10.0.0.1", 80, 10, None), Candidate("10.0.0.2", 80, 10, None)])
    chosen = workers.choose(client.removeprefix("::ffff:").encode())
    assert chosen is not None
    assert answer["choice"]["target"] == chosen.identity
    assert answer["choice"]["deterministic"] is True
    assert sorted(answer["choice"]["order"]) == ["10.0.0.1:80", "10.0.0.2:80"]


def test_least_connections_is_the_order_of_the_moment(lab):
    rule = "shop/https shop.example.com/least"
    lab.set_cell(target_key(rule, "10.0.0.1:80"), TargetField.IN_FLIGHT, 3)
    lab.set_cell(target_key(rule, "10.0.0.2:80"), TargetField.IN_FLIGHT, 1, column=2)
    answer = ask(lab, "https://shop.example.com/least")
    assert answer["choice"]["order"] == ["10.0.0.2:80", "10.0.0.1:80"]
    assert answer["choice"]["deterministic"] is False
    assert [c["in_flight"] for c in answer["candidates"]] == [3, 1]
    assert [c["share"] for c in answer["candidates"]] == [None, None]


def test_shares_of_round_robin(lab):
    answer = ask(lab, "https://shop.example.com/")
    assert [c["share"] for c in answer["candidates"]] == [0.25, 0.75, 0.0]
    assert answer["choice"]["order"] == ["10.0.0.2:80", "10.0.0.1:80"]
    assert "10.0.0.2:80 the likeliest" in answer["verdict"]["text"]


def test_all_dead_is_said(lab):
    for target in ("10.0.0.1:80", "10.0.0.2:80"):
        lab.set_state(target_key(SHOP, target), TargetState.EJECTED)
    answer = ask(lab, "https://shop.example.com/")
    assert "every target is unavailable" in answer["verdict"]["text"]
    assert "so all of them get traffic" in answer["candidates"][0]["why"]


def test_all_dead_may_be_refused(tmp_path):
    site = copy.deepcopy(SITE)
    site["load_balancers"][0]["listeners"][0]["rules"][0]["all_dead"] = "refuse"
    lab = Lab(tmp_path, site)
    for target in ("10.0.0.1:80", "10.0.0.2:80"):
        lab.set_state(target_key(SHOP, target), TargetState.UNHEALTHY)
    answer = ask(lab, "https://shop.example.com/")
    assert (answer["verdict"]["outcome"], answer["verdict"]["status"]) == ("unavailable", 503)
    assert answer["choice"]["how"] == "every target is out, and all_dead is refuse"
    assert not any(candidate["takes_work"] for candidate in answer["candidates"])


def test_a_session_cookie_names_its_target(lab):
    key = b"k" * 32
    lab.node.cookie_key = lambda: key
    parked = Candidate("fd00::3", 80, 0, None)
    policy = SessionPolicy(b"CLBSESSION", 60, key, secure=True, same_site="lax", candidates=[parked])
    cookie = policy.set_cookie(parked).partition(b";")[0].decode()
    answer = ask(lab, "https://shop.example.com/", headers=[["Cookie", cookie]])
    assert answer["choice"]["target"] == "[fd00::3]:80"
    assert "cookie CLBSESSION" in answer["choice"]["how"]
    answer = ask(lab, "https://shop.example.com/", headers=[["Cookie", "CLBSESSION=made-up"]])
    assert answer["choice"]["target"] is None


BAD_URLS = {
    "no_scheme": ("shop.example.com", "bad_url"),
    "other_scheme": ("ftp://shop.example.com/", "bad_url"),
    "bad_host": ("https://127.1/", "bad_url"),
    "not_ascii": ("https://shop.example.com/caf\u00e9", "bad_url"),
    "fragment": ("https://shop.example.com/#x", "bad_url"),
    "no_listener": ("https://shop.example.com:8443/", "no_listener"),
    "other_address": ("http://10.1.1.1/", "no_listener"),
}


@pytest.mark.parametrize(("url", "code"), BAD_URLS.values(), ids=BAD_URLS)
def test_bad_urls(lab, url, code):
    response = lab.request("POST", "/v1/explain", json={"url": url})
    assert response.status_code == 422
    assert response.json()["code"] == code


def test_listeners_by_address_and_by_name(lab):
    assert ask(lab, "http://10.9.9.9/")["listener"]["why"] == "http on port 80, at 10.9.9.9"
    assert ask(lab, "https://127.0.0.1/")["listener"]["why"] == "https on port 443, at any address"
    named = ask(lab, "https://shop.example.com:8443/", listener="shop/https")
    assert named["listener"]["why"] == "the one asked for"


def test_by_query(lab):
    path = "/v1/explain?url=https://www.example.com/&header=Host:%20shop.example.com&client=192.0.2.1"
    assert lab.get(path)["route"]["domain"] == "shop.example.com"


BAD_QUESTIONS = {
    "no_colon": ("url=https://a.test/&header=nothing", 422),
    "bad_address": ("url=https://a.test/&client=nobody", 422),
    "no_url": ("client=10.0.0.1", 400),
    "long_url": ("url=" + "x" * 9000, 400),
    "long_header": ("url=https://a.test/&header=X:" + "x" * 9000, 422),
    "odd_method": ("url=https://a.test/&method=A%20B", 422),
}


@pytest.mark.parametrize(("query", "status"), BAD_QUESTIONS.values(), ids=BAD_QUESTIONS)
def test_bad_questions(lab, query, status):
    response = lab.request("GET", f"/v1/explain?{query}")
    assert response.status_code == status
    assert response.json()["code"] == "invalid_input"


ACCESS = {
    "listener_denies": ("a.test", "192.0.2.9", [], "refused", None, "the connection is reset"),
    "rule_allows": ("b.test", "10.0.0.7", [], "forwarded", None, "forwarded"),
    "rule_denies": ("b.test", "203.0.113.1", [], "refused", 403, "access_denied"),
    "behind_a_trusted_proxy": ("b.test", "10.0.0.7", [["X-Forwarded-For", "203.0.113.1"]], "refused", 403, "access"),
    "let_in_by_a_trusted_proxy": ("b.test", "10.0.0.7", [["X-Forwarded-For", "198.51.100.1"]], "forwarded", None, ""),
    "nobody_trusts_it": ("b.test", "203.0.113.1", [["X-Forwarded-For", "198.51.100.1"]], "refused", 403, "access"),
}


@pytest.mark.parametrize(("host", "client", "headers", "outcome", "status", "text"), ACCESS.values(), ids=ACCESS)
def test_access(lab, host, client, headers, outcome, status, text):
    answer = ask(lab, f"http://{host}/", listener="shop/http", client=client, headers=headers)
    assert (answer["verdict"]["outcome"], answer["verdict"]["status"]) == (outcome, status)
    assert text in answer["verdict"]["text"]


def test_limits_are_named_as_in_the_file(lab):
    answer = ask(lab, "http://b.test/", listener="shop/http", client="10.0.0.7")
    limits = {limit["name"]: limit["value"] for limit in answer["limits"]}
    expected = {
        "limits.accept_rate": "100/s, 500 at once",
        "limits.header_bytes": "64KiB",
        "timeouts.handshake": "10s",
        "rate_limits[0]": "5/s, 5 at once for each value of x-key",
        "rate_limits[1]": "9/s, 9 at once for each source, only logged",
        "rule in_flight": "7, 3 more wait for 2s",
        "pool.idle_timeout": "1m",
    }
    assert {name: limits[name] for name in expected} == expected
    assert "limits.connections_per_source" not in limits
