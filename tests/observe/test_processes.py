"""What the kernel says of a process."""

from __future__ import annotations

import os

from clb.observe.processes import read_usage


def test_of_this_process():
    used = read_usage(os.getpid())
    assert used is not None
    assert used.cpu_s > 0
    assert used.resident_bytes > 1 << 20
    assert used.descriptors is not None
    assert used.descriptors > 2


def test_of_one_that_is_gone(tmp_path):
    assert read_usage(1, tmp_path) is None


def test_a_name_cannot_shift_the_numbers(tmp_path):
    (tmp_path / "7").mkdir()
    tick = os.sysconf("SC_CLK_TCK")
    numbers = f"S 1 2 3 4 5 6 7 8 9 10 {3 * tick} {2 * tick} 0"
    (tmp_path / "7" / "stat").write_text(f"7 (clb) 1 2 (x) {numbers}")
    (tmp_path / "7" / "statm").write_text("9 2 0")
    used = read_usage(7, tmp_path)
    assert used is not None
    assert (used.cpu_s, used.resident_bytes, used.descriptors) == (5.0, 2 * os.sysconf("SC_PAGE_SIZE"), None)
