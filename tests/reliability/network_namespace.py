"""A network of its own for real servers, joined to this machine by a pair of interfaces, that can swallow everything.

Needs root and the `ip` command. Everything is named after this process and is taken away at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

REASON = (
    "only root may make a network namespace"
    if os.geteuid() != 0
    else "there is no `ip` command (package iproute2)"
    if shutil.which("ip") is None
    else ""
)
"""Why there can be none here; empty if there can."""


class Namespace:
    """One of them; on exit it is gone."""

    def __init__(self) -> None:
        number = os.getpid()
        self._name = f"clb-test-{number}"
        self._link, self._other = f"clb{number:x}a", f"clb{number:x}b"
        # Of 198.18.0.0/15, which is set aside for measuring and routed nowhere (RFC 2544).
        net = f"198.18.{number >> 6 & 255}"
        first = (number & 63) * 4
        self._outside = f"{net}.{first + 1}"
        self.address = f"{net}.{first + 2}"
        """Where servers in it listen."""
        self.prefix = ("ip", "netns", "exec", self._name)
        """Before a command that is to run in it."""

    def __enter__(self) -> Namespace:
        try:
            _run("ip", "netns", "add", self._name)
            _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", self._other, "netns", self._name)
            _run("ip", "addr", "add", f"{self._outside}/30", "dev", self._link)
            _run("ip", "link", "set", self._link, "up")
            self._inside("addr", "add", f"{self.address}/30", "dev", self._other)
            self._inside("link", "set", self._other, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def swallow(self) -> None:
        """Let nothing out any more: what is sent here is never answered, not even by a refusal."""
        self._inside("route", "add", "blackhole", f"{self._outside}/32")

    def let_through(self) -> None:
        """End `swallow`."""
        self._inside("route", "del", "blackhole", f"{self._outside}/32")

    def _inside(self, *words: str) -> None:
        _run("ip", "-n", self._name, *words)

    def __exit__(self, *_: object) -> None:
        for words in (("link", "del", self._link), ("netns", "del", self._name)):
            with suppress(subprocess.CalledProcessError):
                _run("ip", *words)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
