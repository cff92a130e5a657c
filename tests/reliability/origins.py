"""Real servers as processes of their own, under a test's orders (origin_server.py)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("origin_server.py")
END_S = 10.0


class Origin:
    """One of them; it is ended when its test ends, whatever it was told to do."""

    def __init__(self, name: str, *, address: str = "127.0.0.1", port: int = 0, prefix: Sequence[str] = ()) -> None:
        """`prefix` are words before the command, such as those that enter a network namespace."""
        self.name = name
        self.address = address
        self._prefix = prefix
        self.port = port
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, str(PROGRAM), self.name, self.address, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._reply()["port"]

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the real server {self.name} has ended"
        reply: dict[str, Any] = json.loads(line)
        return reply

    def target(self, **keys: Any) -> dict[str, Any]:
        """Its place in a rule's `targets`."""
        return {"address": self.address, "port": self.port, **keys}

    @property
    def identity(self) -> str:
        """As clb names it."""
        return f"{self.address}:{self.port}"

    # --- orders ---

    def order(self, **order: Any) -> dict[str, Any]:
        """Give an order of origin_server.py; return the counts."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def counts(self) -> dict[str, Any]:
        """What it has counted: requests, probes, connections, open."""
        return self.order(counts=True)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait(END_S)

    def start_again(self) -> None:
        """After `kill`: on the same port."""
        self._close_pipes()
        self._start()

    def stop(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    # --- end ---

    def __enter__(self) -> Origin:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(END_S)
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
