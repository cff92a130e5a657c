"""Read the CPU time and the memory of a process and all its descendants from /proc.

Owns:      the arithmetic on the lines of /proc, and the walk over a process tree.
Elsewhere: when a reading is taken (window.py); starting and pinning (processes.py).
Pure:      the parse_* and tree_of functions; the others read /proc and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessStat:
    """The fields of /proc/PID/stat that matter here, times in ticks (proc(5))."""

    parent: int
    own_ticks: int
    reaped_ticks: int


@dataclass(frozen=True)
class Memory:
    """Memory of a whole process tree in KiB; PSS shares pages out, so that it can be added up."""

    pss: int
    peak_rss: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.pss + other.pss, self.peak_rss + other.peak_rss)


def parse_stat(line: str) -> ProcessStat:
    """Read one /proc/PID/stat; the name in parentheses may hold spaces and parentheses."""
    fields = line[line.rindex(")") + 2 :].split()
    user, system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
    return ProcessStat(int(fields[1]), user + system, reaped_user + reaped_system)


def parse_schedstat(line: str) -> int:
    """Nanoseconds on a CPU of one task: the first of the three fields."""
    return int(line.split()[0])


def parse_kib(text: str, key: str) -> int:
    """The value of a `Key:   123 kB` line of status or smaps_rollup, 0 where the key is absent."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    return 0


def parse_core_busy(text: str, core: int) -> int:
    """Busy nanoseconds of one core in /proc/stat: all but idle and waiting for a disk.

    Time that the hypervisor gave to others (steal) counts as busy: it is noise of the same kind.
    """
    for line in text.splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) for value in values[:8])
            return (user + nice + system + irq + softirq + steal) * TICK_NS
    raise ValueError(f"/proc/stat has no cpu{core}")


def process_cpu_ns(stat: ProcessStat, tasks_ns: Iterable[int]) -> int:
    """CPU time of one process and of the children it has reaped.

    The tasks' own clocks are exact but go away with a thread that ends; the ticks of the process keep those,
    in steps of 10 ms. The ticks are rounded down, so the larger of the two is the one that has everything.
    """
    return max(sum(tasks_ns), stat.own_ticks * TICK_NS) + stat.reaped_ticks * TICK_NS


def tree_of(root: int, parents: Mapping[int, int]) -> list[int]:
    """`root` and all its descendants, given each process's parent."""
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def tree_cpu_ns(root: int) -> int:
    """CPU time that the tree of `root` has used so far."""
    stats = _all_stats()
    parents = {pid: stat.parent for pid, stat in stats.items()}
    return sum(process_cpu_ns(stats[pid], _tasks_ns(pid)) for pid in tree_of(root, parents) if pid in stats)


def tree_memory(root: int) -> Memory:
    """PSS now, and the sum of the peaks of resident memory, of the tree of `root`."""
    parents = {pid: stat.parent for pid, stat in _all_stats().items()}
    total = Memory(0, 0)
    for pid in tree_of(root, parents):
        directory = PROC / str(pid)
        pss = parse_kib((directory / "smaps_rollup").read_text(), "Pss")
        total += Memory(pss, parse_kib((directory / "status").read_text(), "VmHWM"))
    return total


def reset_peaks(root: int) -> None:
    """Let VmHWM start again from what is resident now (`5` in clear_refs, proc(5))."""
    parents = {pid: stat.parent for pid, stat in _all_stats().items()}
    for pid in tree_of(root, parents):
        (PROC / str(pid) / "clear_refs").write_text("5")


def core_busy_ns(core: int) -> int:
    """Busy time of a core so far, in steps of one tick."""
    return parse_core_busy((PROC / "stat").read_text(), core)


def _all_stats() -> dict[int, ProcessStat]:
    stats = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the listing and the reading
    return stats


def _tasks_ns(pid: int) -> list[int]:
    tasks_ns = []
    for task in (PROC / str(pid) / "task").iterdir():
        try:
            tasks_ns.append(parse_schedstat((task / "schedstat").read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that ended: its time stays in the ticks of the process
    return tasks_ns
