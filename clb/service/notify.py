"""Tell systemd how the service is (sd_notify, `Type=notify` and `Type=notify-reload`).

Owns:      the protocol: one datagram of NAME=value lines to the socket that the environment names.
Elsewhere: when there is something to tell (supervisor.py). Without the variable nothing is sent.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Final

_SHARE: Final = 3
"""Keep-alives are sent this often within the time in which one must come; systemd advises 2 or more."""


class Notifier:
    """A sender that never fails and never waits: the service matters more than who watches it."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self.keep_alive_s = watchdog_s / _SHARE if watchdog_s else None
        """How often `keep_alive` is to be called; None when nobody waits for it."""

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Notifier:
        """Read what systemd says to this process."""
        text = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog_s = int(text) / 1e6 if text.isdecimal() and int(text) and is_ours else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog_s)

    def ready(self, status: str) -> None:
        """All workers serve, or a reload is over."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The service drains or ends."""
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self._send(f"STATUS={text}")

    def keep_alive(self) -> None:
        """Restart the watchdog's time."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        text = "\n".join(" ".join(line.splitlines()) for line in lines)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode("utf-8"), self._address)
