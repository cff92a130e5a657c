"""Which rule serves, redirects included: the router and the choice of a target behind real connections."""

from __future__ import annotations

import pytest
from live_proxy import rule
from raw_client import request
from real_server import RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])


def named(name: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()


@pytest.fixture
def servers(closing):
    """Real servers by name; each answers with its name."""
    return {name: closing.enter_context(RealServer(named(name))) for name in ("a", "b", "c")}


def ask(client, path="/", host="shop.example.com"):
    client.send(request(path, host=host))
    return client.read_answer()


ROUTES = {  # case: (host, path, who answers)
    "exact_domain": ("shop.example.com", "/", b"a"),
    "port_and_case_do_not_matter": ("SHOP.example.com.:8443", "/", b"a"),
    "wildcard_domain": ("other.example.com", "/", b"b"),
    "longest_prefix": ("shop.example.com", "/api/v2", b"c"),
    "prefix_through_dots": ("shop.example.com", "/x/../api/v2", b"c"),
    "prefix_through_escapes": ("shop.example.com", "/%61pi/v2", b"c"),
    "unknown_host_goes_to_the_default": ("unknown.test", "/", b"a"),
    "address_goes_to_the_default": ("127.0.0.1", "/", b"a"),
}


@pytest.mark.parametrize(("host", "path", "who"), ROUTES.values(), ids=ROUTES)
def test_the_rule_that_fits_best_serves(serve, servers, host, path, who):
    rules = [
        rule(servers["a"].port),
        rule(servers["b"].port, domain="*.example.com", default=False),
        rule(servers["c"].port, url="/api/", default=False),
    ]
    client = serve(rules=rules).connect()
    assert ask(client, path, host).body == who


def test_no_rule_is_404_and_the_connection_goes_on(serve, servers):
    proxy = serve(rules=[rule(servers["a"].port, url="/known")])
    client = proxy.connect()
    answer = ask(client, "/unknown")
    assert (answer.status, answer.all(b"connection")) == (404, [])
    assert ask(client, "/known").body == b"a"
    first, _ = proxy.log_lines(2)
    assert (first["status"], first["upstream_addr"], first["error_reason"]) == (404, "-", "no_rule")


def test_a_path_without_its_slash_is_redirected(serve, servers):
    client = serve(rules=[rule(servers["a"].port, url="/dir/")]).connect()
    client.send(request("/dir?a=b", host="shop.example.com:8443"))
    answer = client.read_answer()
    assert (answer.status, answer.one(b"location")) == (301, b"https://shop.example.com:8443/dir/?a=b")
    assert ask(client, "/dir/").body == b"a"


def test_a_redirect_to_the_slash_needs_a_host(serve, servers):
    client = serve(rules=[rule(servers["a"].port, url="/dir/")]).connect()
    client.send(b"GET /dir HTTP/1.0\r\n\r\n")
    assert client.read_to_end().startswith(b"HTTP/1.1 400 ")


REDIRECTS = {  # case: (redirect, path, status, location)
    "to_https": ({"scheme": "https"}, "/a?b=c", 301, b"https://shop.example.com/a?b=c"),
    "to_another_port": ({"scheme": "https", "port": 8443}, "/", 301, b"https://shop.example.com:8443/"),
    "found": ({"host": "www.example.com", "status": 302}, "/a", 302, b"http://www.example.com/a"),
    "temporary": ({"path": "/new", "scheme": "https", "status": 307}, "/a?b", 307, b"https://shop.example.com/new"),
    "permanent": (
        {"host": "www.example.com", "status": 308, "keep_path": False},
        "/a",
        308,
        b"http://www.example.com/",
    ),
    "two_slashes": ({"scheme": "https"}, "//evil.example/a", 301, b"https://shop.example.com//evil.example/a"),
}


@pytest.mark.parametrize(("redirect", "path", "status", "location"), REDIRECTS.values(), ids=REDIRECTS)
def test_a_rule_may_send_the_client_elsewhere(serve, redirect, path, status, location):
    proxy = serve(protocol="http", rules=[rule(redirect=redirect)])
    client = proxy.connect("http")
    for _ in range(2):
        answer = ask(client, path)
        assert (answer.status, answer.one(b"location")) == (status, location)
        assert answer.one(b"date").endswith(b" GMT")
    assert client.ask(path, "HEAD").status == status
    assert proxy.listener.rules[0].requests == 3


def test_a_redirect_to_the_very_same_url_is_no_loop(serve, servers):
    """The configuration is checked for loops; this is for what only a request can show."""
    moved = rule(url="~^/(old|new)$", default=False, redirect={"path": "/new", "scheme": "https", "port": 8443})
    client = serve(rules=[rule(servers["a"].port), moved]).connect()
    assert ask(client, "/old", "shop.example.com:8443").one(b"location") == b"https://shop.example.com:8443/new"
    assert ask(client, "/new", "shop.example.com:8443").status == 404


def test_a_redirect_of_a_request_with_a_body_ends_the_connection(serve):
    client = serve(protocol="http", rules=[rule(redirect={"scheme": "https"})]).connect("http")
    client.send(request(method="POST", fields="Content-Length: 10\r\n"))
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (301, b"close")
    assert client.read_to_end() == b""


def test_a_redirect_needs_a_host(serve):
    client = serve(protocol="http", rules=[rule(redirect={"scheme": "https"})]).connect("http")
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.read_to_end().startswith(b"HTTP/1.1 400 ")


# --- which real server ---


def whom(proxy, count, **options):
    """Who answers `count` requests, each on a connection of its own."""
    return [ask(proxy.connect(**options)).body.decode() for _ in range(count)]


def weighted(servers, weights, **keys):
    one = rule(**keys)
    one["targets"] = [
        {"address": "127.0.0.1", "port": servers[name].port, "weight": weight} for name, weight in weights.items()
    ]
    return [one]


def test_round_robin_by_weight(serve, servers):
    proxy = serve(rules=weighted(servers, {"a": 5, "b": 1, "c": 1}))
    answers = "".join(whom(proxy, 14))
    assert (answers.count("a"), answers.count("b"), answers.count("c")) == (10, 2, 2)
    assert "aabacaaaabacaa" in answers * 2 or "aabacaa" in answers * 2


def test_round_robin_goes_by_request_and_not_by_connection(serve, servers):
    client = serve(rules=weighted(servers, {"a": 1, "b": 1})).connect()
    answers = [ask(client).body for _ in range(4)]
    assert answers[0] != answers[1]
    assert answers[:2] == answers[2:]


def test_weight_zero_takes_no_new_work(serve, servers):
    assert set(whom(serve(rules=weighted(servers, {"a": 0, "b": 1, "c": 0})), 5)) == {"b"}


def test_nobody_with_a_weight_is_503(serve, servers):
    proxy = serve(rules=weighted(servers, {"a": 0, "b": 0}))
    answer = ask(proxy.connect())
    assert answer.status == 503
    assert proxy.log_lines(1)[0]["error_reason"] == "no_target"


def test_least_connections_goes_to_who_has_least_to_do(serve, closing, servers):
    proxy = serve(rules=weighted(servers, {"a": 10, "b": 10}, scheduler="least_conn"))
    first, second = proxy.listener.rules[0].candidates
    first.in_flight += 5
    assert set(whom(proxy, 4)) == {"b"}
    second.in_flight += 10
    assert set(whom(proxy, 4)) == {"a"}
    first.in_flight, second.in_flight = 0, 0


def test_ip_hash_sends_an_address_to_the_same_server(serve, servers):
    rules = weighted(servers, {"a": 10, "b": 10, "c": 10}, scheduler="ip_hash")
    proxy = serve(rules=rules, proxy_protocol={"from": ["127.0.0.0/8"]})
    chosen = {}
    for _ in range(2):
        for number in range(30):
            prefix = b"PROXY TCP4 10.0.0.%d 10.1.1.1 1000 443\r\n" % number
            (answer,) = whom(proxy, 1, prefix=prefix)
            assert chosen.setdefault(number, answer) == answer
    assert set(chosen.values()) == {"a", "b", "c"}


# --- sessions ---


def test_a_session_keeps_a_client_at_its_server(serve, servers):
    proxy = serve(rules=weighted(servers, {"a": 1, "b": 1, "c": 1}, session={"expire": "1h"}))
    for _ in range(3):
        first = ask(proxy.connect())
        cookie = first.one(b"set-cookie").decode()
        value, *attributes = cookie.split("; ")
        assert value.startswith("CLBSESSION=")
        assert "127.0.0.1" not in value
        assert set(attributes) == {"Path=/", "Max-Age=3600", "HttpOnly", "Secure", "SameSite=Lax"}
        client = proxy.connect()
        for _ in range(3):
            again = client.ask(fields=f"Cookie: x=y; {value}\r\n")
            assert (again.body, again.all(b"set-cookie")) == (first.body, [])


def test_a_session_of_an_own_name_over_plain_http(serve, servers):
    session = {"expire": "60s", "cookie_name": "route", "same_site": "strict"}
    proxy = serve(protocol="http", rules=weighted(servers, {"a": 1}, session=session))
    cookie = ask(proxy.connect("http")).one(b"set-cookie")
    assert cookie.startswith(b"route=")
    assert b"Secure" not in cookie
    assert cookie.endswith(b"SameSite=Strict")


def test_an_invented_session_gets_a_real_one(serve, servers):
    proxy = serve(rules=weighted(servers, {"a": 1}, session={"expire": "1h"}))
    answer = proxy.connect().ask(fields="Cookie: CLBSESSION=invented\r\n")
    assert answer.one(b"set-cookie").startswith(b"CLBSESSION=")


def test_a_session_outlives_weight_zero_but_not_its_server(serve, servers):
    proxy = serve(rules=weighted(servers, {"a": 1, "b": 1}, session={"expire": "1h"}))
    first = ask(proxy.connect())
    value = first.one(b"set-cookie").partition(b";")[0].decode()
    here, there = (
        one for name in (first.body.decode(), *({"a", "b"} - {first.body.decode()})) for one in [servers[name]]
    )
    rule_ = proxy.listener.rules[0]
    (candidate,) = (one for one in rule_.candidates if one.port == here.port)
    proxy.call(lambda: (setattr(candidate, "weight", 0), rule_.scheduler.changed(), rule_.session.changed()))
    assert proxy.connect().ask(fields=f"Cookie: {value}\r\n").body == first.body
    here.stop()
    proxy.call(lambda: [one.close() for one in candidate.payload.idle])
    proxy.wait_until(lambda: not candidate.payload.open_connections)
    for conversation in here.conversations:
        conversation.close()
    moved = proxy.connect().ask(fields=f"Cookie: {value}\r\n")
    assert moved.body != first.body
    assert moved.one(b"set-cookie").startswith(b"CLBSESSION=")
    assert there.requests


@PROTOCOLS
def test_a_session_begins_with_whatever_is_answered(serve, closing, protocol):
    """Also with chunks, with the end of the connection, and without a body."""
    for answer in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    ):
        server = closing.enter_context(RealServer(answer))
        proxy = serve(protocol=protocol, rules=weighted({"a": server}, {"a": 1}, session={"expire": "1h"}))
        assert ask(proxy.connect(protocol)).one(b"set-cookie").startswith(b"CLBSESSION=")
