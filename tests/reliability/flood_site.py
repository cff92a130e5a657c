"""Start the programs of this folder, and look at what a `clb serve` and all its processes take."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@contextmanager
def program(name: str, *arguments: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run one until the block ends: what its first line says, and (afterwards) what its last line says."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    last: dict[str, Any] = {}
    try:
        first = process.stdout.readline()
        assert first, f"{name} ended at once"
        yield first, last
    finally:
        process.stdin.close()
        rest = process.stdout.read().splitlines()
        process.stdout.close()
        process.wait(60)
        last.update(json.loads(rest[-1]) if rest else {})


def probe(port: int, seconds: float) -> dict[str, Any]:
    """What a client that behaves well has of it."""
    with program("flood_probe.py", port) as (_, found):
        time.sleep(seconds)
    return found


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    pids = [pid]
    for each in pids:
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        pids.extend(int(child) for child in children.split())
    return pids


def memory_mib(pid: int) -> float:
    """Memory of a process and its descendants; what they share counts once."""
    kib = 0
    for each in family(pid):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return kib / 1024


def descriptors(pid: int) -> int:
    """Most descriptors that one of the processes has open."""
    most = 0
    for each in family(pid):
        try:
            most = max(most, sum(1 for _ in Path(f"/proc/{each}/fd").iterdir()))
        except OSError:
            continue
    return most
