"""Make a child process, and say how one ended.

Owns:      everything between the fork and the child's own work.
Elsewhere: what the children do (worker.py, control_process.py, loader.py); when they are made (supervisor.py).

A child of the supervisor inherits all that it had open: the channels and sockets of the others, other workers' keys.
It closes them before it does anything else. The objects that owned them stay referenced from the supervisor's frames,
which a child never leaves, so none of them closes a number that has become another file's.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterable
from typing import Final

from clb.observe.logging import configure, fields
from clb.service import signals
from clb.service.privileges import Credentials, become, harden
from clb.service.starts import LogSettings

EXIT_FAULT: Final = 70
"""A child met an exception that nothing was prepared for (EX_SOFTWARE of sysexits.h)."""

_logger = logging.getLogger(__name__)


def fork_child(
    role: str,
    run: Callable[[], int],
    *,
    keep: Iterable[int],
    log: LogSettings,
    credentials: Credentials | None = None,
) -> int:
    """Run something in a new process and return its id; `run` returns the exit status.

    Args:
        role: what its log lines call it.
        keep: descriptors that it needs; all others but the standard ones are closed.
        credentials: whom it becomes first.

    Raises:
        OSError: there is no room for another process.
    """
    kept = frozenset(keep)
    # Garbage that owns descriptors must go here and not in the child, where their numbers mean other files.
    gc.collect()
    pid = os.fork()
    if pid != 0:
        return pid
    status = EXIT_FAULT
    try:
        gc.freeze()
        signals.reset_in_child()
        _close_others(kept)
        configure(log.format, log.level, context={"process": role, "pid": os.getpid()})
        if credentials is not None:
            become(credentials)
        harden()
        status = run()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else EXIT_FAULT
    except BaseException:
        _logger.exception("the process ends by a fault")
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()
        # Not sys.exit: the frames above this one are the supervisor's.
        os._exit(status)


def describe_end(status: int) -> dict[str, object]:
    """Return what `waitpid` says as fields for the log."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return {"signal": signal.Signals(number).name}
        except ValueError:  # a real-time signal has no name
            return {"signal": number}
    return {"exit_status": os.waitstatus_to_exitcode(status)}


class Reaper:
    """Knows what to do when a child ends."""

    def __init__(self) -> None:
        self._known: dict[int, Callable[[int], None]] = {}

    def expect(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call `ended` with the status of `waitpid` once this child has ended."""
        self._known[pid] = ended

    def reap(self) -> None:
        """Take the statuses of all that have ended.

        As process 1 of a container the supervisor is also the parent of orphans that it never knew.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (ended := self._known.pop(pid, None)) is not None:
                ended(status)
            else:
                _logger.debug("an orphan has ended", extra=fields(orphan=pid))


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a child that has not been reaped; one that is just ending does not matter."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _close_others(kept: frozenset[int]) -> None:
    """Close what is not in `kept`; a list of /proc, since limits of a million descriptors are common."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in kept:
            with contextlib.suppress(OSError):  # the one by which the list was read
                os.close(number)
