"""Signals as something to select on.

Owns:      which signals the supervisor takes, and what a child does with the same ones.
Elsewhere: what they mean (supervisor.py; docs/operations.md for operators).

The handlers do nothing: Python writes each number to a socket (set_wakeup_fd), and the supervisor's only loop reads
it. So no code of ours ever runs in the middle of other code.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import Final

HANDLED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)
# Ctrl-C, a closed terminal and `pkill -USR1 clb` reach the whole group. What they ask for is the supervisor's to do.
_IGNORED_BY_CHILDREN: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Made once, at the start of the supervisor."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
        # Blocked across the exec that made this program of its predecessor: see `hold_back`.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._receiver.fileno()

    def read(self) -> list[signal.Signals]:
        """Return what has come since the last time, in order; two of one kind may have become one."""
        numbers: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._receiver.recv(4096):
                numbers += data
        return [signal.Signals(number) for number in numbers]


def hold_back() -> None:
    """Let signals wait in the kernel while there is nobody to take them (around an exec)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def let_through() -> None:
    """End `hold_back`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def reset_in_child() -> None:
    """SIGTERM, SIGQUIT and SIGCHLD do what the system does by default; what a group is sent is ignored."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN if number in _IGNORED_BY_CHILDREN else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
