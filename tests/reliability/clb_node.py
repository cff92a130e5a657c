"""A whole node, supervisor, workers and control process, under a test's orders."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from serving import free_ports
from tls_material import HOST, TlsMaterial

COMMAND = [sys.executable, "-W", "default", "-c", "from clb.cli.main import main; main()"]
WAIT_S = 60.0
POLL_S = 0.02
DEFECTS = (
    "Traceback",
    "Fatal error",
    "never awaited",
    "was destroyed",
    "Exception ignored",
    "Warning:",
    "do not add up",
)
"""In no line of the log, whatever clients and real servers do."""

T = TypeVar("T")


def wait_for(question: Callable[[], T], what: str, timeout_s: float = WAIT_S) -> T:
    """The first answer that is true."""
    give_up_at = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < give_up_at, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(POLL_S)
    return answer


def listener(name: str = "https", **keys: Any) -> dict[str, Any]:
    """One listener; its port is chosen by the node."""
    protocol = "https" if name.startswith("https") else "http"
    found = {"name": name, "address": "127.0.0.1", "protocol": protocol, **keys}
    if protocol == "https":
        found.setdefault("certificate", "web")
    return found


def rule(*targets: dict[str, Any], domain: str = HOST, default: bool = True, **keys: Any) -> dict[str, Any]:
    """One rule; the first of a listener is its default."""
    return {"domain": domain, "default": default, "targets": list(targets), **keys}


class ClbNode:
    """`clb serve` with its configuration; on exit it must drain and end well."""

    def __init__(
        self,
        material: TlsMaterial,
        directory: Path,
        listeners: Sequence[dict[str, Any]],
        *,
        workers: int = 2,
        prefix: Sequence[str] = (),
        **node: Any,
    ) -> None:
        """`prefix` are words before the command: taskset, prlimit."""
        self.file = directory / "clb.yaml"
        self.lines: list[str] = []
        self.ports: dict[str, int] = {}
        self.may_complain = False
        """Set by a test that kills processes of the node: then the log says so."""
        self._prefix = prefix
        self._state_dir = directory / "state"
        admin_port, *ports = free_ports(1 + len(listeners))
        common = {"state_dir": str(self._state_dir), "workers": workers, "drain_timeout": "10s"}
        # A worker that waits for a processor, because tests of somebody else have them all, must not turn clients away.
        common["limits"] = {"loop_lag": "0s"}
        self.document: dict[str, Any] = {
            "node": {**common, "access_log": {"path": str(directory / "access.log")}, **node},
            "admin": {"port": admin_port},
            "certificates": {
                "web": {
                    "type": "server",
                    "certificate": str(material.certificate),
                    "private_key": str(material.private_key),
                }
            },
            "load_balancers": [{"name": "lb", "listeners": []}],
        }
        for each, port in zip(listeners, ports, strict=True):
            self.add_listener(each, port)

    # --- the configuration ---

    @property
    def listeners(self) -> list[dict[str, Any]]:
        """Those in the document, which a test may change before it calls `write`."""
        found: list[dict[str, Any]] = self.document["load_balancers"][0]["listeners"]
        return found

    def add_listener(self, new: dict[str, Any], port: int | None = None) -> int:
        """Add one, with a port of its own; return the port."""
        port = port or free_ports(1)[0]
        self.listeners.append({**new, "port": port})
        self.ports[new["name"]] = port
        return port

    def write(self) -> None:
        """Write the document to the file, at one moment."""
        aside = self.file.with_suffix(".new")
        aside.write_text(yaml.safe_dump(self.document, sort_keys=False))
        aside.replace(self.file)

    # --- life ---

    def __enter__(self) -> ClbNode:
        self.write()
        self._process = subprocess.Popen(
            [*self._prefix, *COMMAND, "serve", "--config", str(self.file)],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for_line(": ready ")
            wait_for(self.answers, "the control process")
        except BaseException:
            self._kill()
            raise
        return self

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    def wait_for_line(self, text: str, since: int = 0) -> str:
        """Wait until the log, from line number `since` on, says it."""

        def found() -> str | None:
            said = next((line for line in self.lines[since:] if text in line), None)
            assert said or self._process.poll() is None, "clb has ended:\n" + "\n".join(self.lines)
            return said

        return wait_for(found, f"a line with {text!r}")

    def signal(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self._process.send_signal(number)

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.signal(signal.SIGTERM)
            status = self._process.wait(WAIT_S)
        except BaseException:
            self._kill()
            raise
        self._kill()  # The supervisor has ended; whoever of its session is left is a defect of another kind.
        self._reader.join(WAIT_S)
        if kind is None:
            assert status == 0, "\n".join(self.lines)
            assert not self.defects(), "\n".join(self.defects())

    def _kill(self) -> None:
        """End whatever is left of the session that this test began."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(WAIT_S)

    def defects(self) -> list[str]:
        """Lines of the log that tell of one."""
        return [line for line in self.lines if any(mark in line for mark in DEFECTS)]

    # --- asking it ---

    def answers(self) -> bool:
        """Whether the control process does."""
        try:
            return self._ask("GET", "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = _ControlSocket(self._state_dir / "control.sock")
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """The answer of /v1/status."""
        found: dict[str, Any] = json.loads(self._ask("GET", "/v1/status")[1])
        return found

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """What the control process tells of, oldest first."""
        found: list[dict[str, Any]] = json.loads(self._ask("GET", f"/v1/events?after={after}&limit=1000")[1])["events"]
        return found

    def target(self, origin: str, listener: str | None = None) -> dict[str, Any]:
        """Status of the target with this address and port."""
        for each in self.status()["listeners"]:
            for rule in each["rules"] if listener in (None, each["listener"]) else ():
                for target in rule["targets"]:
                    if target["target"] == origin:
                        found: dict[str, Any] = target
                        return found
        raise AssertionError(f"no target {origin}")

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the series of that name with these labels."""
        total = 0.0
        for line in self._ask("GET", "/metrics")[1].decode().splitlines():
            found = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line)
            if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
                total += float(found[2])
        return total

    # --- changing it ---

    def reload(self) -> dict[str, Any]:
        """Write the document and take it up; what `clb reload` prints."""
        self.write()
        status, body = self._ask("POST", "/v1/reload", b"{}")
        assert status == 200, body.decode()
        answer: dict[str, Any] = json.loads(body)
        return answer

    def refused_reload(self) -> list[str]:
        """Write a document with a fault, and try; the faults."""
        self.write()
        status, body = self._ask("POST", "/v1/reload", b"{}")
        assert status == 422, body.decode()
        return [each["message"] for each in json.loads(body)["errors"]]

    def hang_up(self) -> None:
        """Write the document and take it up by SIGHUP."""
        version = self.status()["node"]["config_version"]
        self.write()
        self.signal(signal.SIGHUP)
        wait_for(lambda: self.status()["node"]["config_version"] > version, "the reload after SIGHUP")

    def upgrade(self) -> None:
        """SIGUSR2: until the new program serves. The old one's workers drain while they have something to do."""
        line = len(self.lines)
        self.signal(signal.SIGUSR2)
        self.wait_for_line(": ready ", line)
        wait_for(self.answers, "the control process of the new program")

    # --- its processes ---

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    def workers(self) -> list[int]:
        """Ids of the workers that take connections, in the order of their slots.

        From the log, since the control process may be a second behind.
        """
        serving: dict[int, int] = {}
        for line in self.lines:
            if found := re.search(r": worker serves slot=(\d+) worker=(\d+) ", line):
                serving[int(found[1])] = int(found[2])
            elif ": draining " in line and (found := re.search(r" pid=(\d+)$", line)):
                serving = {slot: pid for slot, pid in serving.items() if pid != int(found[1])}
        return [serving[slot] for slot in sorted(serving) if is_alive(serving[slot])]

    def control(self) -> int:
        """Id of the control process."""
        started = [line for line in self.lines if ": control process started " in line]
        return int(started[-1].partition(" control=")[2].split()[0])

    def family(self) -> list[int]:
        """All its processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def client_ports(self, worker: int, listener: str) -> set[int]:
        """Ports of the clients whose connections a worker has; needs root, since a worker hides its memory."""
        inodes = set()
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(FileNotFoundError):  # Closed meanwhile.
                if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor)):
                    inodes.add(found[1])
        ports = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            is_connection = words[3] == "01"  # ESTABLISHED
            if is_connection and words[9] in inodes and int(words[1].rpartition(":")[2], 16) == self.ports[listener]:
                ports.add(int(words[2].rpartition(":")[2], 16))
        return ports


class _ControlSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
