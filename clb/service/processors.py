"""How many workers `workers: auto` means.

Owns:      counting the processors that this process may really use.
Elsewhere: the key (config/node.py).

A container that is given two of a machine's sixty-four cores sees sixty-four; its control group knows better.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_processors(cpu_max: Path = CPU_MAX) -> int:
    """Return the cores this process may run on, less what its control group forbids; 1 at least."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, _, period = cpu_max.read_text(encoding="ascii").partition(" ")
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no control group, or "max": no bound
    return max(1, allowed)
