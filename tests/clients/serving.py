"""`clb serve` as a process of its own: started, read, drained."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

CLB = Path(sys.executable).parent / "clb"
START_S = 30
POLL_S = 0.02


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held at once, so no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Serving:
    """One process; its log is kept line by line, its access log lines too."""

    def __init__(self, config: Path, *, cpu: int | None = None) -> None:
        self.lines: list[str] = []
        self.access: list[str] = []
        pin = ["taskset", "-c", str(cpu)] if cpu is not None else []
        self._process = subprocess.Popen(
            [*pin, str(CLB), "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "default", "PYTHONUNBUFFERED": "1"},
        )
        streams = ((self._process.stderr, self.lines), (self._process.stdout, self.access))
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in streams]
        for reader in self._readers:
            reader.start()
        self.wait_for("ready")

    def pids(self) -> list[int]:
        """Of the supervisor and its children."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [pid, *map(int, children.split())]

    @staticmethod
    def _read(stream: Iterable[str], lines: list[str]) -> None:
        lines.extend(line.rstrip("\n") for line in stream)  # Each is there as soon as it came.

    def wait_for(self, *words: str, since: int = 0) -> str:
        """The first log line from `since` on that has all the words."""
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            for line in self.lines[since:]:
                if all(word in line for word in words):
                    return line
            assert self._process.poll() is None, "clb ended:\n" + "\n".join(self.lines)
            time.sleep(POLL_S)
        raise AssertionError(f"no log line with {words}:\n" + "\n".join(self.lines[since:]))

    def drain(self, timeout_s: float = 60) -> int:
        """SIGTERM; the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout_s)
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        return status

    def kill(self) -> None:
        """End it, however."""
        if self._process.poll() is None:
            self._process.kill()
        self.drain()

    def signs_of_defects(self) -> list[str]:
        """Lines that no input of a client may cause."""
        marks = ("Traceback", "never awaited", "was destroyed", "Fatal error", "Exception ignored", "do not add up")
        return [line for line in self.lines if any(mark in line for mark in marks)]
