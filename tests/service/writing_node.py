"""A whole node whose control process takes writes from a test (write_host.py), and its state as clients see it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from clb.store.database import open_store

HOST = Path(__file__).with_name("write_host.py")
WAIT_S = 30.0
POLL_S = 0.02


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def balancer(name: str, number: int = 0, **document: Any) -> dict[str, Any]:
    return _entry(f"lb-aaaaaa{number:02}", "load_balancer", None, name, {"name": name, **document})


def listener(port: int, number: int = 0, **document: Any) -> dict[str, Any]:
    whole = {"name": "http", "address": "127.0.0.1", "port": port, "protocol": "http", **document}
    return _entry(f"lst-aaaaaa{number:02}", "listener", f"lb-aaaaaa{number:02}", whole["name"], whole)


def rule(domain: str = "a.example.com", number: int = 0, place: int = 0, **document: Any) -> dict[str, Any]:
    whole = {"domain": domain, "default": not number, "health_check": {"enabled": False}, **document}
    return _entry(f"rule-aaaaaa{number:02}", "rule", f"lst-aaaaaa{place:02}", f"{domain} /", whole)


def target(port: int, weight: int = 10, parent: int = 0) -> dict[str, Any]:
    document = {"address": "127.0.0.1", "port": port, "weight": weight}
    return _entry(f"tgt-{port:08}", "target", f"rule-aaaaaa{parent:02}", f"127.0.0.1:{port}", document)


def removed(entry: dict[str, Any]) -> dict[str, Any]:
    return {"remove": entry["id"]}


def _entry(number: str, kind: str, parent: str | None, key: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "kind": kind, "parent": parent, "key": key, "document": document}


class WritingNode:
    """`clb serve` on a file, in a directory of its own; ended by SIGTERM, or by whatever a test does."""

    def __init__(self, folder: Path, document: dict[str, Any] | None = None, fault: str = "", workers: int = 2) -> None:
        self.folder = folder
        self.file = folder / "clb.yaml"
        self.state = folder / "state"
        self.document = document or {}
        self.workers = workers
        self.fault = fault
        self._processes: list[subprocess.Popen[bytes]] = []

    def write_file(self, **keys: Any) -> None:
        """Write the configuration file anew."""
        self.document = {**self.document, **keys}
        node = {"state_dir": str(self.state), "workers": self.workers, "access_log": {"format": "off"}}
        admin = {"port": self._admin_port}
        whole = {**self.document, "node": {**node, **self.document.get("node", {})}, "admin": admin}
        self.file.write_text(yaml.safe_dump(whole, default_flow_style=False))

    def __enter__(self) -> WritingNode:
        self._admin_port = free_port()
        self.write_file()
        self.start()
        return self

    def start(self) -> None:
        """Start the program; return when it serves."""
        environment = {**os.environ, "FAULT": self.fault, "FAULT_MARK": str(self.folder / "fault")}
        command = [sys.executable, str(HOST), "serve", "--config", str(self.file)]
        before = self.log.count(": ready ")
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._processes.append(process)
        self.wait_until(lambda: self.log.count(": ready ") > before or process.poll() is not None)
        assert process.poll() is None, self.log

    @property
    def log(self) -> str:
        """What all processes said."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor, the last that was started."""
        return self._processes[-1]

    def children(self, event: str, name: str) -> list[int]:
        """Processes of a kind that are there, by what the log says."""
        pids = [int(line.split(f" {name}=")[1].split()[0]) for line in self.log.splitlines() if f": {event} " in line]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something."""
        give_up_at = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < give_up_at, self.log
            time.sleep(POLL_S)

    # --- writing ---

    def connect(self) -> socket.socket:
        """To whatever control process is there."""
        sock: socket.socket | None = None

        def is_connected() -> bool:
            nonlocal sock
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(WAIT_S)
            try:
                sock.connect(str(self.state / "writes.sock"))
            except OSError:
                sock.close()
                return False
            return True

        self.wait_until(is_connected)
        assert sock is not None
        return sock

    def try_write(self, *changes: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a write; None if the process died over it."""
        with self.connect() as sock, sock.makefile("rwb") as lines:
            lines.write(json.dumps(changes).encode() + b"\n")
            try:
                lines.flush()
                answer = lines.readline()
            except OSError:
                return None
            return json.loads(answer) if answer else None

    def write(self, *changes: dict[str, Any]) -> dict[str, Any]:
        """The answer to a write that takes place."""
        answer = self.try_write(*changes)
        assert answer is not None
        assert "revision" in answer, (answer, self.log)
        return answer

    def revision(self) -> int:
        """What the store has."""
        url = self.document.get("store", {}).get("url")
        store = open_store(url, self.state)
        try:
            return store.revision()
        finally:
            store.close()

    # --- reading ---

    def ask(self, port: int, host: str = "a.example.com") -> tuple[int, str]:
        """Status and body of a request on a connection of its own; the kernel chooses the worker."""
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def answers(self, port: int, host: str = "a.example.com", times: int = 24) -> set[tuple[int, str]]:
        """What clients get, from all workers."""
        return {self.ask(port, host) for _ in range(times)}

    def __exit__(self, kind: object, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if kind is None:
            assert "Traceback" not in self.log, self.log
