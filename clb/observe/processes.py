"""What the kernel says of this node's processes, for metrics.

Owns:      reading /proc.
Elsewhere: which processes there are (the supervisor says).
Shell:     a process may be gone at any moment; then there is nothing to say of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process takes."""

    cpu_s: float
    resident_bytes: int
    descriptors: int | None
    """None: the kernel does not tell, since the process is hardened and another's."""


def read_usage(pid: int, proc: Path = Path("/proc")) -> Usage | None:
    """Read it; None for a process that is gone."""
    directory = proc / str(pid)
    try:
        # The name in brackets may hold spaces and brackets; what follows the last one are numbers.
        numbers = (directory / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        resident = int((directory / "statm").read_text("ascii").split()[1])
        cpu_s = (int(numbers[11]) + int(numbers[12])) / _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return None
    return Usage(cpu_s, resident * _PAGE_BYTES, _count_descriptors(directory / "fd"))


def _count_descriptors(directory: Path) -> int | None:
    try:
        return sum(1 for _ in directory.iterdir())
    except OSError:
        return None
