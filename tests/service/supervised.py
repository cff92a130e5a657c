"""The supervisor as a process of its own with workers that are stand-ins (stand_in.py): started, signalled, watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

WAIT_S = 40
POLL_S = 0.01


class ForkServer:
    """Forks the processes, so that each begins in a moment."""

    def __enter__(self) -> ForkServer:
        command = [sys.executable, str(Path(__file__).with_name("stand_in.py")), "fork-server"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def ask(self, order: Any) -> Any:
        """Send a line, return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        with self._process:
            pass


class Supervised:
    """One supervisor; on exit it must have ended by itself or end by SIGTERM, without a complaint."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self._server = server
        self.file = folder / "clb.yaml"
        self._output = folder / "stderr"
        self._status: int | None = None
        self.pid: int = server.ask([["serve", "--config", str(self.file)], str(self._output)])

    def __enter__(self) -> Supervised:
        return self

    @property
    def lines(self) -> list[str]:
        """What it and its children have written so far."""
        return self._output.read_text().splitlines() if self._output.exists() else []

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something."""
        give_up_at = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < give_up_at, "\n".join(self.lines)
            time.sleep(POLL_S)

    def wait_for_line(self, text: str) -> None:
        """Wait until somebody says it."""
        self.wait_until(lambda: any(text in line for line in self.lines))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def _has_ended(self) -> bool:
        if self._status is None:
            self._status = self._server.ask(self.pid)
        return self._status is not None

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        self.wait_until(self._has_ended)
        assert self._status is not None
        return self._status

    def workers(self) -> list[int]:
        """Ids of the workers that are there, in the order in which they began to serve."""
        lines = [line for line in self.lines if ": worker serves " in line]
        pids = [int(line.split(" worker=")[1].split()[0]) for line in lines]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def __exit__(self, kind: object, *_: object) -> None:
        if not self._has_ended():
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except AssertionError:
                with suppress(ProcessLookupError):
                    self.signal(signal.SIGKILL)
                raise
        if kind is None:
            assert not [line for line in self.lines if "Traceback" in line], "\n".join(self.lines)
