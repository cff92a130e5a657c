"""A node in memory behind a real control socket, for commands that run as processes or in this one."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from control_lab import Lab

from clb.control.guard import Guard
from clb.service.admin_server import AdminServer

WAIT_S = 10.0


class NodeOnASocket:
    """Serves a lab's app from a thread of its own, as the control process does."""

    def __init__(self, directory: Path, **keys: Any) -> None:
        self.lab = Lab(directory)
        self.path = directory / "control.sock"
        self._keys = keys

    def listen(self) -> socket.socket:
        """Where it serves."""
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        return sock

    @property
    def door(self) -> Any:
        """Who may come in."""
        return self.lab.socket_door

    def __enter__(self) -> NodeOnASocket:
        self._sock = self.listen()
        self._sock.setblocking(False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = AdminServer(Guard(self.lab.app, self.door), self._sock, **self._keys)
        self.run(self.server.start)
        return self

    def run(self, make: Callable[[], Any]) -> Any:
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(WAIT_S)

    def __exit__(self, *_: object) -> None:
        self.run(self.server.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()
        self._sock.close()
