"""A configuration changes under a running proxy: who is connected stays, what is learned and counted stays."""

from __future__ import annotations

import ssl
import threading

import pytest
from live_proxy import rule, site
from raw_client import Client, request
from real_server import OK, WAIT_S, RealServer
from test_tunnel import SWITCHING, UPGRADE

from clb.metering.cells import ListenerField, TargetField
from clb.proxy.node_share import NodeShare
from clb.proxy.pool import TargetPool


def answering(text):
    body = text.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def servers(closing):
    """Real servers that answer with their names."""
    return {name: closing.enter_context(RealServer(answering(name))) for name in "abc"}


@pytest.fixture
def held(closing):
    """A real server that answers when it is told to; the second value tells it."""
    may_answer = threading.Event()

    def script(conversation):
        while True:
            conversation.read_request()
            may_answer.wait(WAIT_S)
            conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_answer.set)
    return server, may_answer


def target_of(proxy, port):
    """The balancing view of a target, and its pool."""
    (found,) = [
        candidate
        for listener in proxy.assembly.listeners.values()
        for each in listener.rules
        for candidate in each.candidates
        if candidate.port == port
    ]
    return found


def weighted(servers, **weights):
    ports = {servers[name].port: weight for name, weight in weights.items()}
    targets = [{"address": "127.0.0.1", "port": port, "weight": weight} for port, weight in ports.items()]
    return {"domain": "shop.example.com", "default": True, "targets": targets}


def bodies(client, count):
    return b"".join(client.ask().body for _ in range(count)).decode()


# --- targets ---


@pytest.mark.parametrize("protocol", ["https", "http"])
def test_the_next_request_goes_to_the_new_target(serve, servers, protocol):
    proxy = serve(protocol=protocol, targets=[servers["a"].port])
    client = proxy.connect(protocol)
    assert bodies(client, 2) == "aa"
    proxy.reload(protocol=protocol, targets=[servers["b"].port])
    assert bodies(client, 2) == "bb"
    proxy.reload(protocol=protocol, targets=[servers["b"].port, servers["c"].port])
    assert sorted(bodies(client, 4)) == list("bbcc")


def test_idle_connections_to_a_removed_target_are_closed_at_once(serve, servers):
    proxy = serve(targets=[servers["a"].port, servers["b"].port])
    client = proxy.connect()
    bodies(client, 2)
    pool = target_of(proxy, servers["a"].port).payload
    assert proxy.call(lambda: pool.open_connections) == 1
    proxy.reload(targets=[servers["b"].port])
    proxy.wait_until(lambda: pool.open_connections == 0 and not proxy.assembly.draining)


def test_what_runs_on_a_removed_target_finishes(serve, servers, held):
    server, may_answer = held
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    pool = target_of(proxy, server.port).payload
    proxy.reload(targets=[servers["a"].port])
    assert proxy.call(lambda: dict(proxy.assembly.draining.targets)) == {
        f"lb/https shop.example.com/ 127.0.0.1:{server.port}": 1
    }
    assert proxy.connect().ask().body == b"a"
    may_answer.set()
    assert client.read_answer().body == b"ok"
    assert bodies(client, 1) == "a"
    proxy.wait_until(lambda: not proxy.assembly.draining)
    assert proxy.call(lambda: pool.open_connections) == 0


def test_a_target_that_comes_back_is_the_same_object(serve, servers, held):
    server, may_answer = held
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    before = target_of(proxy, server.port)
    proxy.reload(targets=[servers["a"].port])
    proxy.reload(targets=[server.port])
    after = target_of(proxy, server.port)
    assert after is before
    assert after.in_flight == 1
    assert not any(str(server.port) in key for key in proxy.call(lambda: dict(proxy.assembly.draining.targets)))
    may_answer.set()
    assert client.read_answer().body == b"ok"
    assert client.ask().body == b"ok"
    assert len(server.conversations) == 1  # its connection is kept again


CUTS = {"before_the_answer": (b"", 503), "within_the_answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 200)}


@pytest.mark.parametrize(("begun", "status"), CUTS.values(), ids=CUTS)
def test_time_is_up_for_what_runs_on_a_removed_target(serve, servers, closing, begun, status):
    release = threading.Event()
    server = closing.enter_context(RealServer(script=lambda c: (c.read_head(), c.send(begun), release.wait(WAIT_S))))
    closing.callback(release.set)
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    if begun:
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    proxy.reload(node={"drain_timeout": "100ms"}, targets=[servers["a"].port])
    if begun:
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read(9)
    else:
        assert client.read_answer().status == status
        assert bodies(client, 1) == "a"
    proxy.wait_until(lambda: not proxy.assembly.draining)


def test_a_tunnel_to_a_removed_target_ends_in_order_when_time_is_up(serve, servers, closing):
    ended = threading.Event()

    def script(conversation):
        conversation.read_head()
        conversation.send(SWITCHING)
        conversation.read_to_end()
        ended.set()

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(targets=[server.port])
    client = proxy.connect()
    client.send(request("/chat", fields=UPGRADE))
    assert client.read_answer().status == 101
    proxy.reload(node={"drain_timeout": "100ms"}, targets=[servers["a"].port])
    assert client.read_to_end() == b""
    assert ended.wait(WAIT_S)
    proxy.wait_until(lambda: not proxy.assembly.draining)


def test_who_waits_for_a_removed_target_is_served(serve, servers, held):
    server, may_answer = held
    keys = {"pool": {"connections": 1, "idle": 1}}
    proxy = serve(rules=[rule(server.port, **keys)])
    first, second = proxy.connect(), proxy.connect()
    first.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    pool = target_of(proxy, server.port).payload
    second.send(request())
    proxy.wait_until(lambda: pool.waiting == 1)
    proxy.reload(rules=[rule(servers["a"].port, **keys)])
    may_answer.set()
    assert (first.read_answer().body, second.read_answer().body) == (b"ok", b"ok")


def test_a_pool_that_grows_serves_its_queue(serve, held):
    server, may_answer = held
    proxy = serve(rules=[rule(server.port, pool={"connections": 1, "idle": 1})])
    clients = [proxy.connect() for _ in range(3)]
    for client in clients:
        client.send(request())
    pool = target_of(proxy, server.port).payload
    proxy.wait_until(lambda: pool.waiting == 2)
    proxy.reload(rules=[rule(server.port, pool={"connections": 3, "idle": 3})])
    server.wait_for(lambda: len(server.conversations) == 3)
    may_answer.set()
    assert [client.read_answer().status for client in clients] == [200] * 3


def test_a_pool_that_shrinks_closes_what_is_too_many(serve, servers):
    proxy = serve(targets=[servers["a"].port])
    clients = [proxy.connect() for _ in range(4)]
    for client in clients:
        client.send(request())
    for client in clients:
        client.read_answer()
    pool: TargetPool = target_of(proxy, servers["a"].port).payload
    many = proxy.call(lambda: pool.open_connections)
    proxy.reload(rules=[rule(servers["a"].port, pool={"idle": 1})])
    proxy.wait_until(lambda: pool.open_connections == min(many, 1))
    assert bodies(clients[0], 1) == "a"


# --- schedulers, sessions ---


def test_weights_change(serve, servers):
    proxy = serve(rules=[weighted(servers, a=1, b=1)])
    client = proxy.connect()
    assert sorted(bodies(client, 4)) == list("aabb")
    proxy.reload(rules=[weighted(servers, a=0, b=1)])
    assert bodies(client, 4) == "bbbb"
    proxy.reload(rules=[weighted(servers, a=3, b=1)])
    assert sorted(bodies(client, 8)) == list("aaaaaabb")


def test_turns_go_on_where_they_were_if_the_targets_stay(serve, servers):
    proxy = serve(rules=[weighted(servers, a=1, b=1, c=1)])
    client = proxy.connect()
    order = bodies(client, 3)
    for number in range(6):
        keys = {"retry": {"attempts": number % 3}, "pool": {"idle": 10 + number}}
        proxy.reload(rules=[{**weighted(servers, a=1, b=1, c=1), **keys}], limits={"headers": 50 + number})
        assert bodies(client, 1) == order[number % 3]


def test_a_scheduler_is_replaced(serve, servers):
    proxy = serve(rules=[weighted(servers, a=1, b=1)])
    client = proxy.connect()
    assert sorted(bodies(client, 2)) == list("ab")
    proxy.reload(rules=[{**weighted(servers, a=1, b=1), "scheduler": "ip_hash"}])
    assert len(set(bodies(client, 6))) == 1
    proxy.reload(rules=[{**weighted(servers, a=1, b=1), "scheduler": "least_conn"}])
    assert sorted(bodies(client, 2)) == list("ab")


def test_sessions_survive_what_does_not_touch_their_target(serve, servers):
    keys = {"session": {"expire": "1h"}}
    proxy = serve(rules=[{**weighted(servers, a=1, b=1), **keys}])
    client = proxy.connect()
    first = client.ask()
    cookie = first.one(b"set-cookie").partition(b";")[0].decode()
    proxy.reload(rules=[{**weighted(servers, a=1, b=2, c=5), **keys}])
    answers = [client.ask(fields=f"Cookie: {cookie}\r\n") for _ in range(6)]
    assert {answer.body for answer in answers} == {first.body}
    gone = first.body.decode()
    proxy.reload(rules=[{**weighted(servers, **{name: 1 for name in "abc" if name != gone}), **keys}])
    moved = client.ask(fields=f"Cookie: {cookie}\r\n")
    assert moved.body != first.body
    assert moved.all(b"set-cookie")


def test_sessions_are_switched_on_and_off(serve, servers):
    proxy = serve(targets=[servers["a"].port])
    client = proxy.connect()
    assert not client.ask().all(b"set-cookie")
    proxy.reload(rules=[rule(servers["a"].port, session={"expire": "1h"})])
    assert client.ask().one(b"set-cookie").startswith(b"CLBSESSION=")
    proxy.reload(rules=[rule(servers["a"].port, session={"expire": "1h", "cookie_name": "OTHER"})])
    assert client.ask().one(b"set-cookie").startswith(b"OTHER=")
    proxy.reload(targets=[servers["a"].port])
    assert not client.ask().all(b"set-cookie")


# --- rules ---


def test_rules_come_go_and_change_places(serve, servers):
    default = rule(servers["a"].port)
    special = rule(servers["b"].port, url="/special", default=False)
    proxy = serve(rules=[default])
    client = proxy.connect()
    (kept,) = proxy.listener.rules
    assert client.ask("/special").body == b"a"
    proxy.reload(rules=[special, default])
    assert (client.ask("/special").body, client.ask("/").body) == (b"b", b"a")
    assert proxy.listener.rules[1] is kept
    proxy.reload(rules=[default, special])
    assert (client.ask("/special").body, client.ask("/").body) == (b"b", b"a")
    proxy.reload(rules=[default])
    assert client.ask("/special").body == b"a"
    assert list(proxy.listener.rules) == [kept]


def test_a_rule_that_is_removed_finishes_what_runs(serve, servers, held):
    server, may_answer = held
    slow = rule(server.port, url="/slow", default=False)
    proxy = serve(rules=[rule(servers["a"].port), slow])
    client = proxy.connect()
    client.send(request("/slow"))
    server.wait_for(lambda: len(server.conversations) == 1)
    proxy.reload(rules=[rule(servers["a"].port)])
    assert proxy.connect().ask("/slow").body == b"a"
    may_answer.set()
    assert client.read_answer().body == b"ok"
    proxy.wait_until(lambda: not proxy.assembly.draining)


def test_the_default_moves(serve, servers):
    a, b = rule(servers["a"].port), rule(servers["b"].port, domain="other.example.com", default=False)
    proxy = serve(rules=[a, b])
    client = proxy.connect()
    asks = request(host="unknown.example.com")
    client.send(asks)
    assert client.read_answer().body == b"a"
    proxy.reload(rules=[{**a, "default": False}, {**b, "default": True}])
    client.send(asks)
    assert client.read_answer().body == b"b"


def test_targets_become_a_redirect_and_targets_again(serve, servers):
    proxy = serve(rules=[rule(servers["a"].port)])
    client = proxy.connect()
    assert bodies(client, 1) == "a"
    proxy.reload(rules=[rule(redirect={"host": "new.example.com"})])
    assert client.ask().status == 301
    proxy.reload(rules=[rule(servers["a"].port)])
    assert bodies(client, 1) == "a"


# --- timeouts and limits ---


def test_limits_hold_for_the_next_request(serve, servers):
    proxy = serve(targets=[servers["a"].port])
    client = proxy.connect()
    assert client.ask("/" + "x" * 500).status == 200
    proxy.reload(targets=[servers["a"].port], limits={"uri_bytes": "100B"})
    assert client.ask("/" + "x" * 500).status == 414
    client = proxy.connect()
    fields = "".join(f"X-{number}: 1\r\n" for number in range(20))
    assert client.ask(fields=fields).status == 200
    proxy.reload(targets=[servers["a"].port], limits={"headers": 8})
    assert client.ask(fields=fields).status == 431  # although the same head was read before


def test_a_shorter_keepalive_closes_idle_connections(serve, servers):
    proxy = serve(targets=[servers["a"].port])
    idle, fresh = proxy.connect(), proxy.connect()
    bodies(idle, 1)
    proxy.reload(targets=[servers["a"].port], timeouts={"keepalive": "0s", "client_header": "100ms"})
    assert idle.read_to_end() == b""
    assert fresh.read_to_end() == b""


def test_a_longer_keepalive_keeps_them(serve, servers):
    proxy = serve(targets=[servers["a"].port], timeouts={"keepalive": "10s"})
    client = proxy.connect()
    bodies(client, 1)
    (connection,) = proxy.call(lambda: tuple(proxy.listener.connections))
    before = connection.deadline
    proxy.reload(targets=[servers["a"].port], timeouts={"keepalive": "60s"})
    assert connection.deadline == pytest.approx(before + 50)


def test_the_number_of_requests_on_a_connection_changes(serve, servers):
    proxy = serve(targets=[servers["a"].port])
    client = proxy.connect()
    bodies(client, 3)
    proxy.reload(targets=[servers["a"].port], limits={"keepalive_requests": 5})
    assert [client.ask().all(b"connection") for _ in range(2)] == [[], [b"close"]]
    client = proxy.connect()
    proxy.reload(targets=[servers["a"].port], timeouts={"keepalive": "0s"})
    assert client.ask().one(b"connection") == b"close"


def test_the_desync_guard_is_switched_and_keeps_its_counts(serve, servers):
    proxy = serve(targets=[servers["a"].port], desync_guard="enforce")
    client = proxy.connect()
    bodies(client, 3)
    proxy.reload(targets=[servers["a"].port], desync_guard="off")
    bodies(client, 3)
    assert (proxy.listener.guard.checked, proxy.listener.heads_to_guard) == (3, 0)


def test_rates_and_bounds_of_requests_change(serve, servers):
    one = {"rate_limits": [{"key": "all", "rate": "1/h", "burst": 1}]}
    proxy = serve(targets=[servers["a"].port])
    client = proxy.connect()
    bodies(client, 3)
    proxy.reload(targets=[servers["a"].port], **one)
    assert [client.ask().status for _ in range(2)] == [200, 429]
    proxy.reload(rules=[rule(servers["a"].port, in_flight={"requests": 10})])
    assert bodies(client, 3) == "aaa"
    proxy.reload(rules=[rule(servers["a"].port, access={"deny": ["127.0.0.0/8"]})])
    assert client.ask().status == 403
    proxy.reload(targets=[servers["a"].port])
    assert bodies(client, 3) == "aaa"


# --- TLS ---


def renewed(material, **keys):
    document = site(material, **keys)
    document["certificates"]["web"].update(
        certificate=str(material.renewed_certificate), private_key=str(material.renewed_key)
    )
    return document


def served(client: Client) -> bytes:
    return client.tls.getpeercert(binary_form=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_certificate_is_swapped(serve, servers, material, version):
    keys = {"targets": [servers["a"].port]}
    proxy = serve(**keys)
    context = material.client_context(version=version)
    old = proxy.connect(context=context)
    bodies(old, 1)
    session, first = old.tls.session, served(old)
    proxy.reload(renewed(material, **keys))
    new = proxy.connect(version=version)
    assert served(new) != first
    assert bodies(old, 2) == "aa"  # whoever is connected notices nothing
    resumed = proxy.connect(context=context, session=session)
    assert resumed.tls.session_reused
    assert bodies(resumed, 1) == "a"


def test_sni_comes_and_goes(serve, servers, material):
    keys = {"targets": [servers["a"].port]}
    proxy = serve(**keys)
    client = proxy.connect()
    document = site(material, **keys)
    document["certificates"]["new"] = {
        "type": "server",
        "certificate": str(material.renewed_certificate),
        "private_key": str(material.renewed_key),
    }
    (listener,) = document["load_balancers"][0]["listeners"]
    del listener["certificate"]
    listener.update(sni=True, certificates=["new"])
    proxy.reload(document)
    assert served(proxy.connect()) != served(client)
    assert bodies(client, 1) == "a"


TLS_CHANGES = {
    "policy": {"tls_policy": "modern"},
    "mutual": {"ssl_mode": "mutual", "ca_certificate": "partners"},
    "optional": {"ssl_mode": "mutual", "ca_certificate": "partners", "verify_client": "optional"},
}


@pytest.mark.parametrize("keys", TLS_CHANGES.values(), ids=TLS_CHANGES)
def test_a_change_of_what_sessions_stand_on_ends_them(serve, servers, material, keys):
    proxy = serve(targets=[servers["a"].port])
    context = material.client_context(with_certificate=True)
    busy, idle = proxy.connect(context=context), proxy.connect(context=context)
    bodies(busy, 1)
    bodies(idle, 1)
    session = busy.tls.session
    proxy.reload(targets=[servers["a"].port], **keys)
    answer = busy.ask()
    assert (answer.body, answer.one(b"connection")) == (b"a", b"close")
    assert busy.read_to_end() == b""
    assert idle.read_to_end() == b""  # a second later
    new = proxy.connect(context=context, session=session)
    assert not new.tls.session_reused
    answers = [new.ask() for _ in range(2)]
    assert [answer.all(b"connection") for answer in answers] == [[], []]
    again = proxy.connect(context=context, session=new.tls.session)
    assert again.tls.session_reused


def test_a_handshake_that_began_before_a_certificate_was_required(serve, servers, material):
    proxy = serve(targets=[servers["a"].port])
    context = material.client_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="shop.example.com")
    client = proxy.connect(context=None)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client.sock.sendall(outgoing.read())
    incoming.write(client.sock.recv(65536))
    tls.do_handshake()
    proxy.reload(targets=[servers["a"].port], ssl_mode="mutual", ca_certificate="partners")
    client.sock.sendall(outgoing.read())
    proxy.wait_until(lambda: proxy.listener.ledger.handshakes_failed["no_certificate"] == 1)
    client.close()


def test_a_tunnel_outlives_a_change_of_its_listener(serve, servers, closing, material):
    def echo(conversation):
        conversation.read_head()
        conversation.send(SWITCHING)
        while line := conversation.read_until(b"\n"):
            conversation.send(line)

    chat = closing.enter_context(RealServer(script=echo))
    rules = [rule(servers["a"].port), rule(chat.port, url="/chat", default=False)]
    proxy = serve(rules=rules)
    client = proxy.connect()
    client.send(request("/chat", fields=UPGRADE))
    assert client.read_answer().status == 101
    for document in (
        site(material, rules=[rule(servers["b"].port), rules[1]]),
        renewed(material, rules=rules),
        site(material, rules=rules, tls_policy="modern"),
        site(material, rules=rules, timeouts={"keepalive": "1s"}),
        site(material, rules=[rules[1], rules[0], rule(servers["c"].port, url="/c", default=False)]),
    ):
        proxy.reload(document)
        client.send(b"still there\n")
        assert client.read_until(b"\n") == b"still there\n"


# --- listeners ---


def test_listeners_come_and_go(serve, servers, material):
    https = {"protocol": "https", "targets": [servers["a"].port]}
    http = {"protocol": "http", "port": 80, "targets": [servers["b"].port]}
    proxy = serve(listeners=[https])
    client = proxy.connect()
    proxy.reload(listeners=[https, http])
    plain = proxy.connect("http")
    assert (bodies(client, 1), bodies(plain, 1)) == ("a", "b")
    proxy.reload(listeners=[https])
    assert plain.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        proxy.connect("http")
    assert bodies(client, 1) == "a"
    proxy.wait_until(lambda: not proxy.assembly.draining)


def test_whoever_was_let_in_by_the_kernel_is_served_by_a_removed_listener(serve, servers):
    https = {"protocol": "https", "targets": [servers["a"].port]}
    http = {"protocol": "http", "port": 80, "targets": [servers["b"].port]}
    proxy = serve(listeners=[https, http])
    held, may_go_on = threading.Event(), threading.Event()
    proxy._loop.call_soon_threadsafe(lambda: (held.set(), may_go_on.wait(WAIT_S)))
    assert held.wait(WAIT_S)
    clients = [proxy.connect("http") for _ in range(20)]  # the kernel takes them, the loop cannot
    proxy.reload(listeners=[https], when_asked=may_go_on.set)
    answers = [client.ask() for client in clients]
    assert [(answer.body, answer.all(b"connection")) for answer in answers] == [(b"b", [b"close"])] * 20


def test_what_runs_on_a_removed_listener_finishes_or_is_cut(serve, servers, held, closing):
    server, may_answer = held
    https = {"protocol": "https", "targets": [servers["a"].port]}

    def tunnel(conversation):
        conversation.read_head()
        conversation.send(SWITCHING)
        conversation.read_to_end()

    chat = closing.enter_context(RealServer(script=tunnel))
    http = {
        "protocol": "http",
        "port": 80,
        "rules": [rule(server.port), rule(chat.port, url="/chat", default=False)],
    }
    proxy = serve(listeners=[https, http])
    busy, tunnelled = proxy.connect("http"), proxy.connect("http")
    busy.send(request())
    tunnelled.send(request("/chat", fields=UPGRADE))
    assert tunnelled.read_answer().status == 101
    server.wait_for(lambda: len(server.conversations) == 1)
    proxy.reload(node={"drain_timeout": "1s"}, listeners=[https])
    may_answer.set()
    answer = busy.read_answer()
    assert (answer.body, answer.one(b"connection")) == (b"ok", b"close")
    assert tunnelled.read_to_end() == b""
    proxy.wait_until(lambda: not proxy.assembly.draining)


def test_a_listener_changes_its_protocol(serve, servers):
    proxy = serve(listeners=[{"name": "front", "protocol": "http", "targets": [servers["a"].port]}])
    plain = proxy.connect("front", context=None)
    bodies(plain, 1)
    pool = target_of(proxy, servers["a"].port).payload
    proxy.reload(listeners=[{"name": "front", "protocol": "https", "targets": [servers["a"].port]}])
    assert plain.ask().one(b"connection") == b"close"
    client = proxy.connect("front", context=proxy._material.client_context())
    assert bodies(client, 1) == "a"
    assert target_of(proxy, servers["a"].port).payload is pool


def test_an_unchanged_configuration_changes_nothing(serve, servers):
    proxy = serve(targets=[servers["a"].port])
    client = proxy.connect()

    def objects():
        listener = proxy.listener
        return [listener, listener.router, listener.tls_context, listener.rules, listener.rules[0].scheduler]

    before = proxy.call(objects)
    proxy.reload(targets=[servers["a"].port])
    assert [one is other for one, other in zip(before, proxy.call(objects), strict=True)] == [True] * 5
    assert bodies(client, 1) == "a"


# --- what others see of it ---


def test_requests_under_way_are_shown_until_they_are_over(serve, servers, held):
    """Also those of a listener and a target that are removed: whoever looks sees the drain go on."""
    server, may_answer = held
    https = {"protocol": "https", "targets": [servers["a"].port]}
    http = {"protocol": "http", "port": 80, "targets": [server.port]}
    share, target = NodeShare.alone(), f"lb/http shop.example.com/ 127.0.0.1:{server.port}"
    places = share.place("lb/http", ListenerField.IN_FLIGHT), share.place(target, TargetField.IN_FLIGHT)
    proxy = serve(listeners=[https, http], share=share)

    def shown():
        return [share.own[place] for place in places]

    client = proxy.connect("http")
    client.send(request())
    proxy.wait_until(lambda: shown() == [1, 1])
    proxy.reload(listeners=[https])
    server.wait_for(lambda: len(server.conversations) == 1)
    proxy.wait_until(lambda: bool(proxy.assembly.draining.targets))
    assert proxy.call(shown) == [1, 1]
    may_answer.set()
    assert client.read_answer().status == 200
    proxy.wait_until(lambda: not proxy.assembly.draining)
    proxy.wait_until(lambda: shown() == [0, 0])
