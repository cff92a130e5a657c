from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import demo
import development_certificates
import pytest

from clb.config.models import Listener

CONFIG = """
node: {{state_dir: state}}
admin: {{port: {admin}}}
certificates:
  web: {{type: server, certificate: certs/web.pem, private_key: certs/web.key}}
  clients: {{type: ca, certificate: certs/clients-ca.pem}}
load_balancers:
  - name: demo
    listeners:
      - {{name: plain, address: 127.0.0.1, port: {plain}, protocol: http, rules: &rules [
          {{domain: localhost, default: true, targets: [
            {{address: 127.0.0.1, port: {first}}}, {{address: 127.0.0.1, port: {second}}}]}}]}}
      - {{name: https, address: 127.0.0.1, port: {https}, certificate: web, rules: *rules}}
      - {{name: mutual, address: 127.0.0.1, port: {mutual}, certificate: web,
          ssl_mode: mutual, ca_certificate: clients, rules: *rules}}
"""

LINES = {  # case: (listener, the line without the folder of the certificates)
    "http": ({"protocol": "http", "port": 8080}, "curl http://localhost:8080/"),
    "one_way": ({"port": 8443}, "curl --cacert 'my certs/ca.pem' https://localhost:8443/"),
    "mutual": (
        {"port": 8444, "ssl_mode": "mutual"},
        "curl --cacert 'my certs/ca.pem' --cert 'my certs/client.pem' --key 'my certs/client.key' "
        "https://localhost:8444/",
    ),
}


@pytest.mark.parametrize(("keys", "line"), LINES.values(), ids=LINES)
def test_curl_line(keys: dict[str, object], line: str) -> None:
    assert demo.curl_line(Listener.model_validate(keys), Path("my certs")) == line


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(demo.CannotRun, match=f"port {port}: Address already in use"):
            demo.refuse_taken_ports([port])
    demo.refuse_taken_ports([port])


@pytest.fixture
def site(tmp_path: Path) -> tuple[Path, list[int]]:
    """A configuration on free ports, with certificates."""
    development_certificates.ensure_certificates(tmp_path / "certs", datetime.now(UTC))
    *ports, admin = free_ports(6)
    names = ("plain", "https", "mutual", "first", "second")
    (tmp_path / "clb.yaml").write_text(CONFIG.format(admin=admin, **dict(zip(names, ports, strict=True))))
    return tmp_path, ports


@pytest.fixture
def started(site: tuple[Path, list[int]]) -> Iterator[subprocess.Popen[str]]:
    folder, _ = site
    command = [sys.executable, demo.__file__, str(folder / "clb.yaml"), str(folder / "certs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        # Not kill(): only a signal that it can see lets it end what it started.
        process.terminate()
        process.wait(timeout=30)


def printed_lines(process: subprocess.Popen[str]) -> list[str]:
    """What `process` says until it has told how to try it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            return lines
    pytest.fail("ended early:\n" + "\n".join(lines))


def process_is_there(group: int) -> bool:
    try:
        os.kill(group, 0)
    except ProcessLookupError:
        return False
    return True


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_the_printed_lines_work_and_a_signal_ends_all(
    site: tuple[Path, list[int]], started: subprocess.Popen[str], number: signal.Signals
) -> None:
    commands = [line for line in printed_lines(started) if line.startswith("curl ")]
    assert len(commands) == 3
    for command in commands:
        answers = {
            subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout.split("\n")[0]
            for _ in range(4)
        }
        assert answers == {"real server: demo-1", "real server: demo-2"}, command
    children = children_of(started.pid)
    assert len(children) == 3
    started.send_signal(number)
    assert started.wait(timeout=30) == 0
    assert not any(map(process_is_there, children))
    demo.refuse_taken_ports(site[1])


def test_without_a_client_certificate_the_mutual_listener_refuses(started: subprocess.Popen[str]) -> None:
    mutual = next(line for line in printed_lines(started) if "--cert" in line)
    without = mutual.split(" --cert ")[0] + " " + mutual.split()[-1]
    assert subprocess.run(without, shell=True, capture_output=True).returncode in {35, 52, 56}


def test_when_clb_ends_by_itself_the_rest_ends_too(
    site: tuple[Path, list[int]], started: subprocess.Popen[str]
) -> None:
    printed_lines(started)
    children = children_of(started.pid)
    os.kill(children[-1], signal.SIGKILL)
    assert started.wait(timeout=30) == 1
    assert started.stdout is not None
    assert "clb ended with status -9" in started.stdout.read()
    assert not any(map(process_is_there, children))


def test_a_faulty_configuration_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "clb.yaml").write_text("nodes: {}\n")
    command = [sys.executable, demo.__file__, str(tmp_path / "clb.yaml"), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "clb.yaml:1:1: nodes" in result.stderr
    assert "Traceback" not in result.stderr
