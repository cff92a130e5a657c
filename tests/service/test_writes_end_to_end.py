"""Writes of the API in whole nodes: in every worker before the answer, and whole or not at all whoever is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from write_host import POINTS
from writing_node import WritingNode, balancer, free_port, listener, removed, rule, target


class RealServer(ThreadingHTTPServer):
    """Says its name."""

    def __init__(self, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = name.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return self.server_address[1]


@pytest.fixture(scope="module")
def real_servers() -> Iterator[list[RealServer]]:
    servers = [RealServer(name) for name in ("one", "two", "three")]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def test_all_that_is_written_is_served_by_every_worker(tmp_path, real_servers):
    one, two, three = (server.port for server in real_servers)
    port, own = free_port(), free_port()
    file_rule = {
        "domain": "f.example.com",
        "default": True,
        "health_check": {"enabled": False},
        "targets": [{"address": "127.0.0.1", "port": three}],
    }
    front = {"port": own, "protocol": "http", "address": "127.0.0.1", "rules": [file_rule]}
    document = {"load_balancers": [{"name": "file", "listeners": [front]}]}
    with WritingNode(tmp_path, document) as node:
        changes = node.write(balancer("shop"), listener(port), rule(), target(one))["changes"]
        assert changes == [["new_listener", "shop/http", f"127.0.0.1:{port} (http), 1 rule"]]
        assert node.answers(port) == {(200, "one")}
        node.write(target(two))
        assert node.answers(port) == {(200, "one"), (200, "two")}
        node.write(target(one, weight=0))
        assert node.answers(port) == {(200, "two")}
        node.write(rule("b.example.com", 1), target(three, parent=1))
        assert node.answers(port, "b.example.com") == {(200, "three")}
        node.write(removed(target(two)), target(one))
        assert node.answers(port) == {(200, "one")}
        assert node.answers(port, "b.example.com") == {(200, "three")}

        # Nothing changes by what is not sound, nor by a dry run.
        revision = node.revision()
        refused = node.try_write({**target(one), "document": {"address": "127.0.0.1", "port": 0}})
        where = "load balancer shop, listener http, rule a.example.com /"
        message = "is 0; write a whole number from 1 to 65535"
        assert refused == {"problems": [[where, "targets[0].port", message]]}
        clash = node.try_write(listener(own, 0))
        assert clash is not None
        assert clash["problems"][0][:2] == ["load balancer shop, listener http", "port"]
        assert "load balancer file, listener http-" in clash["problems"][0][2]
        assert "of the file" in clash["problems"][0][2]
        dry = node.write(target(two), {"dry_run": True})
        assert [kind for kind, *_ in dry["changes"]] == ["in_place"]
        assert node.revision() == revision
        assert node.answers(port) == {(200, "one")}

        # Many writes become one whole again, and it is the same.
        for number in range(80):
            node.write(target(two, weight=number % 7), target(one, weight=number % 5))
        node.write(removed(target(two)), target(one))
        node.wait_until(lambda: len(memory_files(node.process.pid)) < 60)

        # A worker that starts later has all of it, and so has the program after this one.
        for pid in node.children("worker serves", "worker"):
            node_kill(pid)
        node.wait_until(lambda: len(node.children("worker serves", "worker")) == 2)
        assert node.answers(port) == {(200, "one")}
        node.process.terminate()
        node.process.wait(30)
        node.start()
        assert node.answers(port, "b.example.com") == {(200, "three")}
        node.write(removed(balancer("shop")))
        with pytest.raises(ConnectionRefusedError):
            node.ask(port)
        assert node.answers(own, "f.example.com") == {(200, "three")}


def memory_files(pid: int) -> list[str]:
    links = [os.path.realpath(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")]
    return [each for each in links if "memfd:clb-records" in each]


def test_an_export_is_taken_and_changes_nothing(tmp_path, real_servers):
    one, two, three = (server.port for server in real_servers)
    port, own = free_port(), free_port()
    targets = [{"address": "127.0.0.1", "port": one, "weight": 7}, {"address": "127.0.0.1", "port": two}]
    shop = {"domain": "f.example.com", "default": True, "health_check": {"interval": "2500ms"}, "targets": targets}
    front = {"port": own, "protocol": "http", "address": "127.0.0.1", "rules": [shop], "limits": {"body_bytes": "1MiB"}}
    document = {
        "load_balancers": [{"listeners": [front], "labels": {"off": "on", "a": "0443"}}],
        "store": {"url": f"sqlite:///{tmp_path / 'shared.db'}"},
    }
    with WritingNode(tmp_path, document) as node:
        limit = {"rate_limits": [{"rate": "6000/m", "key": "all"}]}
        node.write(balancer("shop"), listener(port, **limit), rule(), target(three))
        node.write({"override": f"lb-1/http-{own} f.example.com/ 127.0.0.1:{one}", "weight": 0, "file_weight": 7})
        exported = tmp_path / "exported.yaml"
        asked = run_clb("export", "--config", str(node.file), "--output", str(exported))
        assert asked.returncode == 0, asked.stderr
        written = exported.read_text()
        assert "shared.db" in written  # The command put it in.
        assert "stored: lb-aaaaaa00" in written
        checked = run_clb("check", "--config", str(exported))
        assert checked.returncode == 0, checked.stderr
        exported.rename(node.file)
        planned = run_clb("reload", "--plan", "--config", str(node.file))
        assert planned.returncode == 0, planned.stderr
        assert "nothing changes" in planned.stdout
        reload(node)
        assert node.answers(port) == {(200, "three")}
        assert {body for _, body in node.answers(own, "f.example.com")} == {"two"}
        # A copy that is not what the store has any more is an error that says so, and nothing changes.
        node.write(target(two))
        stale = run_clb("check", "--config", str(node.file))
        assert stale.returncode == 1
        assert "this copy is not what the store has" in stale.stderr
        assert "export again" in stale.stderr


def run_clb(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clb.cli.main import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_others_write_is_taken_up(tmp_path, real_servers):
    one, two, _ = (server.port for server in real_servers)
    port, folder = free_port(), tmp_path / "other"
    folder.mkdir()
    url = {"url": f"sqlite:///{tmp_path / 'shared.db'}"}
    here, there = ({"store": url, "node": {"region": region}} for region in ("here", "there"))
    with WritingNode(tmp_path, here) as node, WritingNode(folder, there, workers=1) as other:
        other.connect().close()  # It has read what there is: nothing.
        node.write(balancer("shop", region="here"), listener(port), rule(), target(one))
        assert node.answers(port) == {(200, "one")}
        other.wait_until(lambda: "followed the store revision=1" in other.log)
        other.write(target(two), removed(target(one)))
        node.wait_until(lambda: "followed the store revision=2 changes=2" in node.log)
        assert node.answers(port) == {(200, "two")}
        # A load balancer of both regions needs its port on both nodes, which are one machine here.
        refused = other.try_write(balancer("shop", region=["here", "there"]))
        assert refused is not None
        assert "cannot be bound" in refused["problems"][0][2]
        assert other.revision() == 2
        assert node.answers(port) == {(200, "two")}


def test_a_weight_of_the_file_is_overridden_until_the_file_changes_it(tmp_path, real_servers):
    one, two, _ = (server.port for server in real_servers)
    port = free_port()

    def site(weight: int) -> list[dict]:
        targets = [{"address": "127.0.0.1", "port": one, "weight": weight}, {"address": "127.0.0.1", "port": two}]
        shop = {"domain": "a.example.com", "default": True, "health_check": {"enabled": False}, "targets": targets}
        front = {"name": "http", "port": port, "protocol": "http", "address": "127.0.0.1", "rules": [shop]}
        return [{"name": "file", "listeners": [front]}]

    with WritingNode(tmp_path, {"load_balancers": site(10)}) as node:
        assert node.answers(port) == {(200, "one"), (200, "two")}
        key = f"file/http a.example.com/ 127.0.0.1:{one}"
        changes = node.write({"override": key, "weight": 0, "file_weight": 10})["changes"]
        assert changes == [["in_place", f"file/http rule a.example.com/ target 127.0.0.1:{one} weight", "10 -> 0"]]
        assert node.answers(port) == {(200, "two")}
        node.write_file(load_balancers=site(10))
        reload(node)
        assert node.answers(port) == {(200, "two")}  # The file says the same as before.
        node.write_file(load_balancers=site(20))
        reload(node)
        assert node.answers(port) == {(200, "one"), (200, "two")}


def reload(node: WritingNode) -> None:
    before = node.log.count(": reload done ")
    node.process.send_signal(signal.SIGHUP)
    node.wait_until(lambda: node.log.count(": reload done ") > before)


def node_kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


OFTEN = ("control behind the commit", "worker before it activates")


@pytest.mark.parametrize(
    "point", [pytest.param(each, marks=[] if each in OFTEN else pytest.mark.slow) for each in POINTS]
)
def test_whoever_is_killed_leaves_the_old_state_or_the_new(tmp_path, real_servers, point):
    one, two, _ = (server.port for server in real_servers)
    port = free_port()
    old, new = {(200, "one")}, {(200, "two")}
    with WritingNode(tmp_path, fault=point) as node:
        (tmp_path / "fault").touch()  # Not yet.
        node.write(balancer("shop"), listener(port), rule(), target(one))
        (tmp_path / "fault").unlink()
        answer = node.try_write(removed(target(one)), target(two))
        node.wait_until((tmp_path / "fault").exists)
        if point.startswith("supervisor"):
            node.process.wait(30)
            node.wait_until(lambda: not node.children("worker serves", "worker"))
            node.wait_until(lambda: not node.children("control process started", "control"))
            node.start()
        # Whatever it is: the store and all workers agree on it, and the next write goes on from there.
        expected = {1: old, 2: new}[node.revision()]
        assert answer is None or "revision" not in answer or expected == new
        node.wait_until(lambda: node.answers(port) == expected)
        node.write(target(one), target(two))
        assert node.answers(port) == old | new


def test_a_store_that_is_away_stops_writes_and_nothing_else(tmp_path, real_servers):
    one, two, _ = (server.port for server in real_servers)
    port = free_port()
    with WritingNode(tmp_path) as node:
        node.write(balancer("shop"), listener(port), rule(), target(one))
        database = node.state / "clb.db"
        blocker = open_blocker(database)
        refused = node.try_write(target(two))
        assert refused is not None
        assert refused["fault"] == "StoreAway"
        assert node.answers(port) == {(200, "one")}
        blocker.rollback()
        blocker.close()
        node.write(target(two))
        assert node.answers(port) == {(200, "one"), (200, "two")}


def open_blocker(database):
    """Somebody who holds SQLite's lock for writers."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection
