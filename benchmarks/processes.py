"""Start, pin, await and end the processes of one run.

Owns:      every process it started, each in a process group of its own, and nothing else on the machine.
Elsewhere: what they are told to do (peers/, realserver.py, load/); reading what they use (usage.py).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
DESCRIPTORS = 65_536


class StartFailed(Exception):
    """A process ended or opened no port; the text holds the end of its output."""


class Running:
    """One started process: the root of the tree whose CPU is read."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._output = output

    def await_ports(self, ports: Sequence[int]) -> None:
        """Return once each port accepts a connection."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for port in ports:
            while not _accepts(port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise StartFailed(f"{self.name} does not listen on port {port}\n{self.output_tail()}")
                time.sleep(0.05)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def output_tail(self) -> str:
        return self._output.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """SIGTERM to its process group, SIGKILL if that does not end it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
                return


def start(
    name: str,
    command: Sequence[str],
    *,
    core: int,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> Running:
    """Start a long-lived process on one core; it is the leader of a new process group."""
    output = output or directory / f"{name}.out"
    with output.open("ab") as sink:
        process = subprocess.Popen(
            pinned(core, command),
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(name, process, output)


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command on one core, with room for the descriptors of the idle case."""
    limit = descriptor_limit()
    return ["prlimit", f"--nofile={limit}:{limit}", "taskset", "-c", str(core), *command]


def descriptor_limit() -> int:
    """What each process may open: the hard limit, within reason."""
    return min(DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def free_ports(count: int) -> list[int]:
    """Ports that the system gave out; all are held until the last is known, so that none comes twice."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
