"""Reading /proc: the arithmetic by table, and one look at this process itself."""

from __future__ import annotations

import os

import pytest

from benchmarks.usage import (
    TICK_NS,
    ProcessStat,
    parse_core_busy,
    parse_kib,
    parse_schedstat,
    parse_stat,
    process_cpu_ns,
    tree_cpu_ns,
    tree_memory,
    tree_of,
)

REST = "S {parent} 7 7 0 -1 4194560 100 0 0 0 {user} {system} {reaped_user} {reaped_system} 20 0 1 0 99 1 1"
STAT_LINES = {
    "plain": f"17 (nginx) {REST}",
    "spaces": f"17 (nginx: worker) {REST}",
    "parentheses": f"17 (a) S 9 (b)) {REST}",
}


@pytest.mark.parametrize("line", STAT_LINES.values(), ids=STAT_LINES)
def test_stat_is_read_behind_the_last_parenthesis(line: str) -> None:
    text = line.format(parent=5, user=10, system=3, reaped_user=2, reaped_system=1)
    assert parse_stat(text) == ProcessStat(parent=5, own_ticks=13, reaped_ticks=3)


def test_schedstat_gives_the_time_on_the_cpu() -> None:
    assert parse_schedstat("270516 2770274 2\n") == 270516


KIB = {
    "present": ("Rss:  9 kB\nPss:                 120 kB\nPss_Dirty: 5 kB\n", 120),
    "absent": ("Rss:  9 kB\n", 0),
    "empty": ("", 0),
}


@pytest.mark.parametrize(("text", "expected"), KIB.values(), ids=KIB)
def test_kib_of_a_key(text: str, expected: int) -> None:
    assert parse_kib(text, "Pss") == expected


def test_busy_counts_all_but_idle_and_waiting() -> None:
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 800 900 8 16 32 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n"
    assert parse_core_busy(text, 0) == (1 + 2 + 4 + 8 + 16 + 32) * TICK_NS
    assert parse_core_busy(text, 1) == 0


def test_a_core_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="cpu7"):
        parse_core_busy("cpu  1 1 1 1 1 1 1 1\n", 7)


CPU = {
    "tasks_are_finer": (ProcessStat(1, 2, 0), [2 * TICK_NS + 5, 7], 2 * TICK_NS + 12),
    "a_thread_has_ended": (ProcessStat(1, 9, 0), [3], 9 * TICK_NS),
    "children_reaped": (ProcessStat(1, 0, 4), [3], 3 + 4 * TICK_NS),
}


@pytest.mark.parametrize(("stat", "tasks", "expected"), CPU.values(), ids=CPU)
def test_cpu_of_one_process(stat: ProcessStat, tasks: list[int], expected: int) -> None:
    assert process_cpu_ns(stat, tasks) == expected


def test_a_tree_has_descendants_and_nobody_else() -> None:
    parents = {10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}
    assert sorted(tree_of(10, parents)) == [10, 11, 12, 13]
    assert tree_of(21, parents) == [21]


def test_this_process_uses_cpu_and_memory() -> None:
    before = tree_cpu_ns(os.getpid())
    sum(range(300_000))
    assert tree_cpu_ns(os.getpid()) > before
    memory = tree_memory(os.getpid())
    assert 0 < memory.pss <= memory.peak_rss
