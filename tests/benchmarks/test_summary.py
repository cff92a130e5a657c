"""From samples to ratios and tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cases import CASES, Case
from benchmarks.load import Load
from benchmarks.summary import (
    Ratio,
    align,
    ratios,
    summarise,
    table_of_ratios,
    table_of_rows,
    warnings,
)
from benchmarks.window import Sample

SMALL = CASES["small"]
IDLE = CASES["idle"]


def sample(value: float, *, errors: int = 0, foreign: float = 0.0, p99_us: int = 900) -> Sample:
    load = Load(units=1000, seconds=1.0, errors=errors, p50_us=500, p99_us=p99_us)
    return Sample(value, load, busy=0.9, foreign=foreign, peak_mib=20.0, log_bytes=400.0)


def test_a_row_has_the_median_and_the_extremes() -> None:
    row = summarise(SMALL, "nginx", [sample(20.0), sample(16.0), sample(90.0)])
    assert (row.value, row.lowest, row.highest) == (20.0, 16.0, 90.0)
    assert (row.units, row.errors, row.measure) == (3000, 0, "us")


def rows_of(case: Case, values: dict[str, float]) -> list[Ratio]:
    return ratios(case, [summarise(case, peer, [sample(value)]) for peer, value in values.items()])


RATIOS = {  # case: (work case, values, [(peer, ratio, holds)])
    "within": (SMALL, {"clb": 15.0, "nginx": 10.0}, [("nginx", 1.5, True)]),
    "over": (SMALL, {"clb": 15.1, "nginx": 10.0}, [("nginx", 1.51, False)]),
    "not_asked": (SMALL, {"clb": 15.0, "haproxy": 10.0}, [("haproxy", 1.5, None)]),
    "cheaper_than_envoy": (SMALL, {"clb": 15.0, "envoy": 30.0}, [("envoy", 0.5, True)]),
    "no_clb": (SMALL, {"nginx": 15.0, "envoy": 30.0}, []),
    "a_peer_without_cost": (SMALL, {"clb": 15.0, "nginx": 0.0}, []),
    "absolute": (IDLE, {"clb": 20.5, "nginx": 10.0}, [("nginx", 2.05, None), ("", 20.5, False)]),
}


@pytest.mark.parametrize(("case", "values", "expected"), RATIOS.values(), ids=RATIOS)
def test_ratios(case: Case, values: dict[str, float], expected: list[tuple[str, float, bool | None]]) -> None:
    found = rows_of(case, values)
    assert [(ratio.peer, round(ratio.value, 6), ratio.holds) for ratio in found] == expected


def test_the_table_says_what_was_asked_and_what_came() -> None:
    text = table_of_ratios(rows_of(SMALL, {"clb": 20.0, "nginx": 10.0, "haproxy": 10.0, "envoy": 40.0}))
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["small", "clb/nginx", "2.00", "<=", "1.5", "OVER"],
        ["small", "clb/haproxy", "2.00", "-"],
        ["small", "clb/envoy", "0.50", "<=", "1", "holds"],
    ]


def test_a_case_is_named_once_and_an_idle_line_has_no_latency() -> None:
    idle = replace(sample(12.0), busy=0.0, log_bytes=0.0, load=Load(1000, 1.0, 0, 0, 0))
    rows = [
        summarise(SMALL, "clb", [sample(1.0)]),
        summarise(SMALL, "nginx", [sample(1.0)]),
        summarise(IDLE, "clb", [idle]),
    ]
    lines = [line.split() for line in table_of_rows(rows).splitlines()[1:]]
    assert [line[0] for line in lines] == ["small", "nginx", "idle"]
    assert lines[2][2:] == ["12.0", "KiB", "12.0..12.0", "-", "-", "20.0", "-", "-", "-", "1000"]


def test_noise_and_errors_are_told() -> None:
    rows = [
        summarise(SMALL, "clb", [sample(1.0, foreign=0.5), sample(1.0, errors=3)]),
        summarise(SMALL, "nginx", [sample(1.0)]),
    ]
    errors, noise = warnings(rows)
    assert errors == "small, clb: 3 errors"
    assert noise.startswith("in 1 of 2 lines others used up to 50%")
    assert warnings(rows[1:]) == []


@given(st.lists(st.floats(min_value=0.1, max_value=1e6), min_size=1, max_size=9))
def test_the_median_lies_between_the_extremes(values: list[float]) -> None:
    row = summarise(SMALL, "clb", [sample(value) for value in values])
    assert row.lowest <= row.value <= row.highest


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert align([("a", "bb", "1"), ("aaa", "b", "100")]) == "a    bb    1\naaa  b   100"
