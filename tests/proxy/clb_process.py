"""`clb serve` as a process of its own: started, signalled, watched, and its standard error read for complaints."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from live_proxy import site
from raw_client import Client
from real_server import WAIT_S
from tls_material import TlsMaterial

COMMAND = [sys.executable, "-W", "default", "-c", "from clb.cli.main import main; main()"]
COMPLAINTS = ("Traceback", "Fatal error", "never awaited", "was destroyed", "Exception", "Warning")


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def write_site(
    material: TlsMaterial,
    file: Path,
    *,
    node: dict[str, Any] | None = None,
    admin: dict[str, Any] | None = None,
    **keys: Any,
) -> dict[str, int]:
    """Write a configuration with ports that were free a moment ago; return them by listener."""
    document = site(material, **keys)
    common = {"state_dir": str(file.parent / "state"), "access_log": {"format": "off"}, "workers": 1}
    document["node"] = {**common, **(node or {})}
    document["admin"] = {"port": free_port(), **(admin or {})}
    ports = {}
    for listener in document["load_balancers"][0]["listeners"]:
        listener["port"] = ports[listener["name"]] = free_port()
    file.write_text(yaml.safe_dump(document))
    return ports


class ClbProcess:
    """One process; on exit it must have ended by itself or end by SIGTERM, without a complaint."""

    def __init__(self, material: TlsMaterial, directory: Path, *, prefix: Sequence[str] = (), **site_keys: Any) -> None:
        self._prefix = prefix
        self._material = material
        self._file = directory / "clb.yaml"
        self._site_keys = site_keys
        self.ports: dict[str, int] = {}
        self.lines: list[str] = []
        """Standard error."""
        self.has_ended = False
        self._changed = threading.Condition()

    def __enter__(self) -> ClbProcess:
        for _ in range(5):
            self.ports = write_site(self._material, self._file, **self._site_keys)
            self._start()
            if self.wait_for_line("ready", or_end=True):
                return self
            self._reader.join(WAIT_S)
            self._process.stdout.close()
            # Somebody took the port meanwhile.
            assert any("cannot be bound" in line for line in self.lines), self.lines
            self.lines.clear()
        raise AssertionError("no port was free five times")

    def _start(self) -> None:
        self.has_ended = False
        self._process = subprocess.Popen(
            [*self._prefix, *COMMAND, "serve", "--config", str(self._file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None  # asked for above
        for line in self._process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        self._process.stderr.close()
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def wait_for_line(self, text: str, *, or_end: bool = False) -> bool:
        """Wait until standard error says it."""

        def is_there() -> bool:
            return any(text in line for line in self.lines)

        with self._changed:
            assert self._changed.wait_for(lambda: is_there() or (or_end and self.has_ended), WAIT_S), self.lines
            return is_there()

    def connect(self, listener: str = "https", **options: Any) -> Client:
        """A client, which the caller closes."""
        if listener == "https":
            options.setdefault("context", self._material.client_context())
        return Client(self.ports[listener], **options)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        status = self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return status

    @property
    def file(self) -> Path:
        """The configuration."""
        return self._file

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    def workers(self) -> list[int]:
        """Ids of the workers that are there, in the order in which they began to serve."""
        return self._children("worker serves", "worker")

    def control(self) -> int:
        """Id of the control process; 0 while there is none."""
        return [0, *self._children("control process started", "control")][-1]

    def _children(self, event: str, name: str) -> list[int]:
        pids = [int(line.split(f" {name}=")[1].split()[0]) for line in self.lines if f": {event} " in line]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def memory_kib(self, name: str) -> int:
        """A line of /proc/PID/status of the (last) worker: VmRSS now, VmHWM at most so far."""
        status = Path(f"/proc/{self.workers()[-1]}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1])

    @property
    def output(self) -> str:
        """What came on standard output; to be asked for after the end."""
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def __exit__(self, kind: object, *_: object) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if kind is None:
            assert not [line for line in self.lines if any(word in line for word in COMPLAINTS)], self.lines
