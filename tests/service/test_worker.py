"""A worker as a process: ready, changed, drained, ended; what it answers and when it refuses."""

from __future__ import annotations

import json
import os
import threading

import pytest
from live_proxy import rule, site
from raw_client import request
from real_server import OK, WAIT_S, RealServer
from test_tunnel import SWITCHING, UPGRADE
from workers import Workers, hear


@pytest.fixture
def start(material, tmp_path, closing):
    """Start workers; they are ended and examined with the test."""
    return lambda **keys: closing.enter_context(Workers(material, tmp_path, **keys))


@pytest.fixture
def connect(closing):
    """Connect a client that is closed with the test."""
    return lambda workers, *name, **options: closing.enter_context(workers.connect(*name, **options))


def test_ready_means_that_it_accepts(start, connect, real_server):
    workers = start(targets=[real_server.port])
    assert connect(workers).ask().status == 200


def test_ping_is_answered_with_the_lag(start, real_server):
    workers = start(targets=[real_server.port])
    workers.say({"type": "ping"})
    (pong,) = workers.hear("pong")
    assert 0 <= pong["lag_ms"] < 1000
    assert pong["draining"] == {"targets": 0, "requests": 0}


def test_an_unknown_message_does_no_harm(start, connect, real_server):
    workers = start(targets=[real_server.port])
    reading, writing = os.pipe()
    workers.say({"type": "dance"}, [reading])
    os.close(reading)
    os.close(writing)
    assert connect(workers).ask().status == 200


# --- changes ---


def test_a_change_is_in_service_when_it_is_active(start, connect, closing, real_server):
    other = closing.enter_context(RealServer())
    workers = start(targets=[real_server.port])
    client = connect(workers)
    assert client.ask().status == 200
    workers.change(targets=[other.port])
    assert client.ask().status == 200
    assert (len(real_server.requests), len(other.requests)) == (1, 1)


def test_what_is_prepared_is_not_in_service(start, connect, closing, real_server):
    other = closing.enter_context(RealServer())
    workers = start(targets=[real_server.port])
    version = workers.prepare(targets=[other.port])
    workers.hear("prepared")
    client = connect(workers)
    assert client.ask().status == 200
    workers.say({"type": "discard", "version": version})
    workers.say({"type": "activate", "version": version})
    (refused,) = workers.hear("refused", "active")
    assert refused == {"type": "refused", "version": version, "error": f"version {version} was not prepared"}
    assert client.ask().status == 200
    assert (len(real_server.requests), len(other.requests)) == (2, 0)


def test_two_changes_prepared_one_behind_the_other_are_activated_in_order(start, connect, closing, real_server):
    second, third = closing.enter_context(RealServer()), closing.enter_context(RealServer())
    workers = start(targets=[real_server.port])
    client = connect(workers)
    versions = [workers.prepare(targets=[second.port]), workers.prepare(targets=[second.port, third.port])]
    for version in versions:
        workers.say({"type": "activate", "version": version})
    assert [workers.hear("active", "refused")[0]["version"] for _ in versions] == versions
    assert [client.ask().status for _ in range(4)] == [200] * 4
    assert [len(server.requests) for server in (real_server, second, third)] == [0, 2, 2]


def test_a_change_that_cannot_be_made_is_refused_and_leaves_no_trace(start, connect, material, real_server, tmp_path):
    workers = start(targets=[real_server.port])
    client = connect(workers)
    nowhere = str(tmp_path / "nothing" / "access.log")
    version = workers.prepare(node={"access_log": {"path": nowhere}}, targets=[real_server.port])
    (refused,) = workers.hear("prepared", "refused")
    assert (refused["type"], refused["version"]) == ("refused", version)
    assert "No such file" in refused["error"]
    assert client.ask().status == 200
    workers.change(targets=[real_server.port])
    assert client.ask().status == 200


def test_no_base_is_left(start, connect, real_server):
    workers = start(bases=1, targets=[real_server.port])
    workers.prepare(targets=[real_server.port], tls_policy="modern")
    (refused,) = workers.hear("prepared", "refused")
    assert refused["error"] == "listener lb/https: base 1 was made after this process"
    assert connect(workers).ask().status == 200


def test_a_base_that_would_let_old_sessions_in_is_refused(start, connect, real_server):
    workers = start(targets=[real_server.port])
    workers._next_base = 0
    workers.prepare(targets=[real_server.port], tls_policy="modern")
    (refused,) = workers.hear("prepared", "refused")
    assert refused["error"] == "listener lb/https: no fresh base for what its sessions are checked against"
    assert connect(workers).ask().status == 200


def test_the_access_log_moves(start, connect, real_server, tmp_path):
    old, new = tmp_path / "old.log", tmp_path / "new.log"
    workers = start(targets=[real_server.port])
    client = connect(workers)
    workers.change(node={"access_log": {"path": str(old), "format": "json"}}, targets=[real_server.port])
    client.ask("/old")
    workers.change(node={"access_log": {"path": str(new), "format": "tencent"}}, targets=[real_server.port])
    client.ask("/new")
    workers.say({"type": "drain", "refuses": True})
    assert workers.wait() == 0
    assert [json.loads(line)["uri"] for line in old.read_text().splitlines()] == ["/old"]
    assert "GET /new HTTP/1.1" in new.read_text()


def test_logs_are_reopened(start, connect, real_server, tmp_path):
    log = tmp_path / "access.log"
    keys = {"targets": [real_server.port]}
    workers = start(**keys)
    workers.change(node={"access_log": {"path": str(log), "format": "json"}}, **keys)
    client = connect(workers)
    client.ask("/before")
    log.rename(tmp_path / "access.log.1")
    workers.say({"type": "reopen_logs"})
    workers.say({"type": "ping"})
    workers.hear("pong")
    client.ask("/after")
    workers.say({"type": "drain", "refuses": True})
    assert workers.wait() == 0
    assert [json.loads(line)["uri"] for line in log.read_text().splitlines()] == ["/after"]


def test_sockets_of_another_slot_are_taken_over_and_given_back(start, connect, closing, real_server):
    workers = start(targets=[real_server.port])
    (own,) = workers._sockets["lb/https"]
    document = site(workers._material, targets=[real_server.port])
    place = {"listener": "lb/https", "slot": 1}
    client = connect(workers)
    assert client.ask().status == 200
    extra = closing.enter_context(_bound_beside(own))  # stands for that of a worker that was taken away
    _prepare_with(workers, document, {"sockets": [place], "releases": []}, [extra.fileno()])
    for _ in range(20):
        assert connect(workers).ask().status == 200
    _prepare_with(workers, document, {"sockets": [], "releases": [place]}, [])
    extra.close()
    for _ in range(20):
        assert connect(workers).ask().status == 200
    assert client.ask().status == 200


def _bound_beside(own):
    sock = type(own)()
    sock.setsockopt(1, 15, 1)  # SOL_SOCKET, SO_REUSEPORT
    sock.bind(own.getsockname())
    sock.listen(128)
    return sock


def _prepare_with(workers, document, places, numbers):
    workers._document(document)
    outline, keys, _ = workers._load()
    version = workers._version
    workers.say({"type": "prepare", "version": version, **places}, [outline, keys, *numbers])
    os.close(outline)
    os.close(keys)
    workers.hear("prepared")
    workers.say({"type": "activate", "version": version})
    workers.hear("active")


# --- the end ---


@pytest.fixture
def held(closing):
    """A real server that answers when it is told to; the second value tells it."""
    may_answer = threading.Event()

    def script(conversation):
        conversation.read_request()
        may_answer.wait(WAIT_S)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_answer.set)
    return server, may_answer


def begin(workers, connect, server):
    """A client whose request is under way."""
    client = connect(workers)
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    return client


def drain_by_message(workers):
    workers.say({"type": "drain", "refuses": True})


def drain_by_the_channels_end(workers):
    for channel in workers.channels:
        channel.close()
    workers.channels.clear()


ENDS = {"message": drain_by_message, "channel_closes": drain_by_the_channels_end}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_drain_lets_answers_finish(start, connect, held, end):
    server, may_answer = held
    workers = start(targets=[server.port])
    client = begin(workers, connect, server)
    for group in workers._sockets.values():
        for sock in group:
            sock.close()
    end(workers)
    workers.wait_for_line("draining")
    if workers.channels:
        assert workers.hear("draining")[0]["connections"] == 1
    with pytest.raises(ConnectionRefusedError):
        connect(workers)
    may_answer.set()
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (200, b"close")
    assert client.read_to_end() == b""
    assert workers.wait() == 0
    if workers.channels:
        workers.hear("drained")
    assert any("connections_cut=0" in line or "stopped" in line for line in workers.lines)


def test_quit_cuts_what_runs(start, connect, held):
    server, _ = held
    workers = start(targets=[server.port])
    client = begin(workers, connect, server)
    workers.say({"type": "quit"})
    assert workers.wait() == 0
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read(1)


def test_quit_ends_a_drain(start, connect, held):
    server, _ = held
    workers = start(targets=[server.port])
    client = begin(workers, connect, server)
    drain_by_message(workers)
    workers.hear("draining")
    workers.say({"type": "quit"})
    assert workers.wait() == 0
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read(1)


def test_a_drain_ends_after_its_time(start, connect, held):
    server, _ = held
    workers = start(targets=[server.port])
    workers.change(node={"drain_timeout": "300ms"}, targets=[server.port])
    begin(workers, connect, server)
    drain_by_message(workers)
    assert workers.wait() == 0


def test_who_drains_beside_others_refuses_nobody(start, connect, real_server):
    workers = start(targets=[real_server.port])
    (sock,) = workers._sockets["lb/https"]
    workers.say({"type": "drain", "refuses": False})
    workers.hear("drained")
    client = connect(workers, context=None)  # waits in the socket's queue for whoever has it next
    sock.settimeout(WAIT_S)
    accepted, _ = sock.accept()
    with accepted:
        assert accepted.getpeername() == client.sock.getsockname()


def test_it_cannot_serve_what_it_is_given(material, tmp_path, real_server):
    workers = Workers(material, tmp_path, targets=[real_server.port])
    nowhere = {"access_log": {"path": str(tmp_path / "nothing" / "log")}}
    workers._document(site(material, targets=[real_server.port]), nowhere)
    with pytest.raises(AssertionError, match=r"refused.*No such file"):
        workers.__enter__()
    assert workers.wait() == 1


def test_changes_are_for_those_who_serve_on(start, connect, held):
    server, may_answer = held
    workers = start(targets=[server.port])
    client = begin(workers, connect, server)
    drain_by_message(workers)
    workers.hear("draining")
    workers.prepare(rules=[rule(server.port, url="/elsewhere")])
    may_answer.set()
    assert client.read_answer().status == 200
    assert workers.wait() == 0
    assert hear(workers.channels[0], "drained", "prepared")["type"] == "drained"


def test_a_tunnel_is_ended_in_order_when_the_time_of_a_drain_is_up(start, connect, closing):
    def tunnel(conversation):
        conversation.read_head()
        conversation.send(SWITCHING)
        conversation.read_to_end()

    server = closing.enter_context(RealServer(script=tunnel))
    workers = start(targets=[server.port])
    workers.change(node={"drain_timeout": "100ms"}, targets=[server.port])
    client = connect(workers)
    client.send(request("/chat", fields=UPGRADE))
    assert client.read_answer().status == 101
    drain_by_message(workers)
    assert client.read_to_end() == b""
    assert workers.wait() == 0


def test_a_change_without_its_files_is_refused(start, connect, real_server):
    workers = start(targets=[real_server.port])
    workers.say({"type": "lost", "of": "snapshot", "version": 8})
    workers.say({"type": "lost", "of": "prepare", "version": 9})
    refused = workers.hear("refused")[0]
    assert refused["version"] == 9
    assert "descriptors" in refused["error"]
    assert connect(workers).ask().status == 200
