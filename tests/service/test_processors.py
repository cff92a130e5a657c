"""How many workers `auto` means, with and without a control group."""

from __future__ import annotations

import pytest

from clb.service import processors
from clb.service.processors import usable_processors

BOUNDS = {  # case: (cpu.max, with eight processors)
    "none": ("max 100000\n", 8),
    "two": ("200000 100000\n", 2),
    "one_and_a_half": ("150000 100000\n", 2),
    "a_tenth": ("10000 100000\n", 1),
    "more_than_there_are": ("9900000 100000\n", 8),
    "nonsense": ("", 8),
    "division_by_zero": ("1 0\n", 8),
    "nothing": ("0 100000\n", 1),
}


@pytest.mark.parametrize(("text", "expected"), BOUNDS.values(), ids=BOUNDS)
def test_bounds(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: range(8))
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert usable_processors(file) == expected


def test_without_a_control_group_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: {3})
    assert usable_processors(tmp_path / "nothing") == 1
