"""The commands and the management address of a real `clb serve`, with two workers."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from clb_process import COMMAND, ClbProcess
from real_server import RealServer

from clb.cli.node_client import NodeClient

WAIT_S = 20.0


class Operator:
    """Types commands at a node."""

    def __init__(self, process: ClbProcess, directory) -> None:
        self.process = process
        self.file = directory / "clb.yaml"
        self.state = directory / "state"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *words, "--config", str(self.file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)

    def status(self) -> dict:
        return NodeClient(self.state / "control.sock", WAIT_S).get("/v1/status")

    def wait_for(self, look) -> dict:
        """Ask for the status until it is as it should be."""
        give_up_at = time.monotonic() + WAIT_S
        while not look(answer := self.status()):
            assert time.monotonic() < give_up_at, answer
        return answer

    def change(self, edit) -> None:
        document = yaml.safe_load(self.file.read_text())
        edit(document)
        self.file.write_text(yaml.safe_dump(document))

    def ask(self, path: str, **keys) -> httpx.Response:
        """By the management address, trusting the certificate that the node made for itself."""
        port = yaml.safe_load(self.file.read_text())["admin"]["port"]
        trusted = ssl.create_default_context(cafile=self.state / "admin.pem")
        return httpx.get(f"https://127.0.0.1:{port}{path}", verify=trusted, timeout=WAIT_S, **keys)


@pytest.fixture(scope="module")
def node(material, tmp_path_factory):
    """One node for all of these tests: each leaves it serving."""
    directory = tmp_path_factory.mktemp("node")
    with RealServer() as one, RealServer() as two:
        keys = {"targets": [one.port, two.port], "node": {"workers": 2}}
        with ClbProcess(material, directory, **keys) as process:
            process.wait_for_line("management serves")
            yield Operator(process, directory)


def test_status(node):
    answer = node.wait_for(lambda answer: answer["node"]["ready"] and answer["node"]["workers_ready"] == 2)
    assert [process["role"] for process in answer["processes"]] == ["supervisor", "control", "worker", "worker"]
    assert answer["listeners"][0]["listener"] == "https"
    assert len(answer["listeners"][0]["rules"][0]["targets"]) == 2
    assert json.loads(node.run("status", "--json").stdout)["node"]["ready"] is True
    text = node.run("status").stdout
    assert "ready, 2 of 2 workers" in text
    assert "certificates\n  web: " in text


def test_reload_says_what_changes_and_does_it(node):
    node.wait_for(lambda answer: answer["node"]["ready"])

    def lighter(document):
        document["load_balancers"][0]["listeners"][0]["rules"][0]["targets"][0]["weight"] = 7

    node.change(lighter)
    before = node.status()["node"]["config_version"]
    plan = node.run("reload", "--plan")
    assert plan.returncode == 0
    assert "weight" in plan.stdout
    assert "1 change planned, none made" in plan.stdout
    assert node.status()["node"]["config_version"] == before
    done = node.run("reload")
    assert done.returncode == 0
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())
    answer = node.wait_for(lambda answer: answer["node"]["config_version"] > before)
    assert answer["listeners"][0]["rules"][0]["targets"][0]["weight"] == 7
    answer = node.wait_for(lambda answer: answer["last_reload"] is not None)
    assert answer["last_reload"]["ok"] is True


def test_faults_are_printed_where_the_operator_typed(node):
    sound = node.file.read_text()
    node.change(lambda document: document["node"].update(wrokers=3, watch="x"))
    try:
        refused = node.run("reload")
        assert refused.returncode == 1
        assert f"{node.file}:" in refused.stderr
        assert "wrokers" in refused.stderr
        assert "node.watch" in refused.stderr
        assert "nothing was changed" in refused.stderr
        # The file has a fault, and the node is found all the same.
        node.wait_for(lambda answer: answer["last_reload"] is not None and not answer["last_reload"]["ok"])
    finally:
        node.file.write_text(sound)


def test_explain(node):
    port = node.process.ports["https"]
    told = node.run("explain", f"https://shop.example.com:{port}/x", "-H", "X-A: b", "--from", "192.0.2.1")
    assert told.returncode == 0, told.stderr
    assert "certificate web: it names shop.example.com" in told.stdout
    assert "outcome     forwarded to one of 2 targets" in told.stdout


def test_the_management_address(node, material):
    assert node.ask("/readyz").json() == {"ready": True, "reasons": [], "notes": []}
    with node.process.connect() as client:
        assert client.ask().status == 200
    assert node.ask("/metrics").status_code == 401
    node.change(lambda document: document["admin"].update(metrics_open=True))
    assert node.run("reload").returncode == 0
    assert 'clb_workers{state="ready"} 2.0' in node.ask("/metrics").text
    assert node.ask("/v1/status").status_code == 401


def test_the_health_check_of_the_image(node, tmp_path):
    (line,) = re.findall(r'CMD \["python", "-c", "(.+)"\]', (Path(__file__).parents[2] / "Dockerfile").read_text())
    assert ".of(None, None, 3)" in line
    for directory, status in ((node.state, 0), (tmp_path, 1)):
        here = line.replace(
            ".of(None, None, 3)", f".of(None, __import__('pathlib').Path('{directory}/control.sock'), 3)"
        )
        ran = subprocess.run([sys.executable, "-c", here], capture_output=True, timeout=WAIT_S)
        assert ran.returncode == status


def test_a_worker_that_is_killed_is_told_of(node):
    restarts = node.status()["processes"][2]["restarts"]
    os.kill(node.process.workers()[0], signal.SIGKILL)
    node.wait_for(
        lambda answer: (
            answer["node"]["workers_ready"] == 2
            and sum(process["restarts"] or 0 for process in answer["processes"]) > restarts
        )
    )
    events = NodeClient(node.state / "control.sock", WAIT_S).get("/v1/events")["events"]
    assert any(event["kind"] == "worker_died" and "SIGKILL" in event["cause"] for event in events)
    # Its death is what the test wanted, and the only complaint.
    node.process.lines[:] = [line for line in node.process.lines if "worker died" not in line]


def test_traffic_does_not_notice_a_management_process_that_is_killed(node):
    with node.process.connect() as client:
        old = node.process.control()
        os.kill(old, signal.SIGKILL)
        assert client.ask().status == 200
        # The socket is the supervisor's: whoever asks meanwhile only waits.
        assert node.run("status").returncode == 0
        assert node.process.control() != old
        assert client.ask().status == 200


def test_top_goes_on_while_the_management_process_restarts(node):
    terminal, theirs = pty.openpty()
    words = [*COMMAND, "top", "--config", str(node.file), "--interval", "0.2"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        give_up_at = time.monotonic() + WAIT_S
        while text not in shown:
            assert select.select([terminal], [], [], give_up_at - time.monotonic())[0], shown
            shown += os.read(terminal, 65536)

    try:
        read_until(b"2/2 workers")
        os.kill(node.process.control(), signal.SIGKILL)
        shown = b""
        read_until(b"control_started")
        os.write(terminal, b"q")
        read_until(b"\x1b[?1049l")
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(terminal)
        os.close(theirs)
