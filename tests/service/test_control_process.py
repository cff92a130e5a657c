"""The control process whole: its two sockets, what the supervisor tells and is asked, and its end."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from control_lab import SITE, WORKERS, outline

from clb.metering.cells import Cells
from clb.service.bundle_files import write_identity, write_outline
from clb.service.channel import Channel, ChannelClosed
from clb.service.control_process import run_control
from clb.service.starts import ControlStart, LogSettings
from clb.tls.contexts import Identity

WAIT_S = 10.0


class Supervisor:
    """Plays the other end of the channel; the process runs in a thread."""

    def __init__(self, directory: Path, identity: Identity | None = None, site: Mapping[str, Any] = SITE) -> None:
        self.directory = directory
        self.channel, theirs = Channel.pair()
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(directory / "control.sock"))
        self.control.listen()
        self.admin = socket.socket()
        self.admin.bind(("127.0.0.1", 0))
        self.admin.listen()
        self.port = self.admin.getsockname()[1]
        self.memory = write_outline(outline(site))
        self.identity = write_identity(identity) if identity is not None else None
        self.replies: dict[str, dict[str, object]] = {"processes": {"ok": True, "processes": list(WORKERS)}}
        self.asked: list[str] = []
        self.heard: list[str] = []
        """Kinds of messages."""
        self.start = ControlStart(
            version=1,
            channel=theirs,
            outline=self.memory,
            admin_identity=self.identity,
            control_socket=self.control,
            admin_socket=self.admin,
            cells=Cells(1000, 3),
            state_dir=directory,
            counters=directory,
            log=LogSettings("text", "info"),
            config_path=directory / "clb.yaml",
            supervisor_pid=os.getpid(),
        )
        self.status: int | None = None
        self.thread = threading.Thread(target=self._run)
        self.is_answering = True
        self.answering = threading.Thread(target=self._answer)

    def _run(self) -> None:
        self.status = run_control(self.start)

    def _answer(self) -> None:
        while self.is_answering:
            if not select.select([self.channel], [], [], 0.02)[0]:
                continue
            try:
                received = self.channel.receive()
            except ChannelClosed:
                return
            if received is None:
                continue
            self.heard.append(received[0]["type"])
            if received[0]["type"] != "request":
                continue
            self.asked.append(received[0]["what"])
            if (reply := self.replies.get(received[0]["what"])) is not None:
                self.channel.send({"type": "reply", "id": received[0]["id"], **reply})

    def __enter__(self) -> Supervisor:
        self.thread.start()
        self.answering.start()
        return self

    def get(self, path: str) -> httpx.Response:
        """As the commands ask."""
        transport = httpx.HTTPTransport(uds=str(self.directory / "control.sock"))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=WAIT_S) as client:
            return client.get(path)

    def wait_for(self, path: str, is_there: object) -> None:
        """Ask until the answer is as it should be."""
        assert callable(is_there)
        give_up_at = time.monotonic() + WAIT_S
        while not is_there(answer := self.get(path)):
            assert time.monotonic() < give_up_at, answer.text
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.is_answering = False
        self.answering.join(WAIT_S)
        self.channel.close()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        for descriptor in (self.memory, self.identity):
            if descriptor is not None:
                os.close(descriptor)
        self.control.close()
        self.admin.close()
        assert self.status == 0


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        yield supervisor


def test_it_learns_of_the_processes_and_is_ready(supervisor):
    supervisor.wait_for("/readyz", lambda answer: answer.status_code == 200)
    status = supervisor.get("/v1/status").json()
    assert (status["node"]["config_version"], status["node"]["workers_ready"]) == (1, 1)
    assert supervisor.get("/v1/events").json()["events"][0]["kind"] == "control_started"


def test_it_says_that_it_serves_so_that_it_is_ended_in_order(supervisor):
    supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
    supervisor.wait_for("/healthz", lambda _: "ready" in supervisor.heard)


def trusting(supervisor) -> httpx.Client:
    """A client of the management address that trusts the node's own certificate, as the file has it."""
    context = ssl.create_default_context(cafile=supervisor.directory / "admin.pem")
    return httpx.Client(verify=context, base_url=f"https://127.0.0.1:{supervisor.port}", timeout=WAIT_S)


def test_the_management_address_wants_a_token(supervisor):
    supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
    with trusting(supervisor) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/status").status_code == 401
        assert client.get("/metrics").status_code == 401
        bearer = {"Authorization": "Bearer clb_aaaaaaaaaaaa_" + "A" * 43}
        assert client.get("/v1/status", headers=bearer).status_code == 401
        assert client.get("/v1/status", headers={**bearer, "Host": "evil.test"}).status_code == 421


def test_who_comes_by_the_control_socket_is_named(supervisor):
    supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
    who = supervisor.get("/v1/whoami").json()
    assert (who["name"], who["role"]) == (f"uid:{os.geteuid()} (control socket)", "admin")


def test_it_makes_a_certificate_of_its_own_and_keeps_it(tmp_path):
    shown = []
    for _ in range(2):
        with Supervisor(tmp_path) as supervisor:
            supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
            shown.append(supervisor.get("/v1/status").json()["management"])
            for name in ("admin.pem", "admin.key"):
                assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
            with trusting(supervisor) as client:
                assert client.get("/healthz").status_code == 200
        (tmp_path / "control.sock").unlink()
    assert shown[0]["tls"] == shown[1]["tls"]
    assert shown[0]["tls"]["is_own"] is True
    assert {"localhost", "127.0.0.1", "::1", "node-1"} <= set(shown[0]["tls"]["names"])
    assert shown[0]["tokens"] == 0


def test_nothing_speaks_clear_text_unless_told_to(supervisor):
    supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{supervisor.port}/healthz")


def test_clear_text_where_the_configuration_says_so(tmp_path):
    with Supervisor(tmp_path, site={**SITE, "admin": {"danger_plain_http": True}}) as supervisor:
        supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
        assert supervisor.get("/v1/status").json()["management"]["tls"] is None
        assert httpx.get(f"http://127.0.0.1:{supervisor.port}/healthz").status_code == 200
        assert not (tmp_path / "admin.key").exists()


def test_another_configuration_is_taken_up(supervisor, site_without_first_target):
    site = site_without_first_target
    site["admin"] = {"metrics_open": True, "hosts": ["admin.example.net"]}
    memory = write_outline(outline(site, 2))
    supervisor.channel.send({"type": "snapshot", "version": 2}, [memory])
    os.close(memory)
    supervisor.wait_for("/v1/status", lambda answer: answer.json()["node"]["config_version"] == 2)
    # Its own certificate is for the new name as well.
    assert "admin.example.net" in supervisor.get("/v1/status").json()["management"]["tls"]["names"]
    with trusting(supervisor) as client:
        assert client.get("/metrics", headers={"Host": "admin.example.net"}).status_code == 200


def test_events_are_kept(supervisor):
    event = {"kind": "worker_died", "slot": 0, "worker": 7, "signal": "SIGKILL"}
    supervisor.channel.send({"type": "event", "event": event})
    supervisor.wait_for("/v1/events", lambda answer: "ended by SIGKILL" in answer.text)


def test_a_reload_is_asked_of_the_supervisor(supervisor):
    supervisor.replies["reload"] = {"ok": True, "version": 2, "changes": [], "warnings": []}
    supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
    transport = httpx.HTTPTransport(uds=str(supervisor.directory / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        assert client.post("/v1/reload").json()["config_version"] == 2
    assert "reload" in supervisor.asked


def test_a_request_that_waits_when_the_supervisor_goes_is_answered(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
        answers = []
        transport = httpx.HTTPTransport(uds=str(tmp_path / "control.sock"))
        client = httpx.Client(transport=transport, base_url="http://localhost", timeout=WAIT_S)
        asking = threading.Thread(target=lambda: answers.append(client.post("/v1/reload").status_code))
        asking.start()
        give_up_at = time.monotonic() + WAIT_S
        while "reload" not in supervisor.asked and time.monotonic() < give_up_at:
            time.sleep(0.01)
    asking.join(WAIT_S)
    client.close()
    assert answers == [503]


def test_the_management_address_by_tls_and_its_names(material, tmp_path):
    chain, key = material.certificate.read_bytes(), material.private_key.read_bytes()
    identity = Identity(chain, key, ("shop.example.com",), "ECDSA")
    with Supervisor(tmp_path, identity) as supervisor:
        supervisor.wait_for("/healthz", lambda answer: answer.status_code == 200)
        context = material.client_context()
        context.check_hostname = False
        with httpx.Client(verify=context) as client:
            base = f"https://127.0.0.1:{supervisor.port}"
            assert client.get(f"{base}/metrics", headers={"Host": "shop.example.com"}).status_code == 401
            memory, renewed = write_outline(outline(version=2)), write_identity(identity)
            supervisor.channel.send({"type": "snapshot", "version": 2, "extra": ["admin"]}, [memory, renewed])
            os.close(memory)
            os.close(renewed)
            supervisor.wait_for("/v1/status", lambda answer: answer.json()["node"]["config_version"] == 2)
            assert client.get(f"{base}/healthz").status_code == 200


HEAVY = ("fastapi", "starlette", "uvicorn", "prometheus_client", "clb.control", "httpx")


@pytest.mark.parametrize("module", ["clb.service.worker", "clb.service.supervisor", "clb.service.starts"])
def test_other_processes_do_without_all_this(module):
    code = f"import {module}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if "No module named" in ran.stderr:
        pytest.skip(f"there is no {module} yet")
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
