"""What makes a peer or a window unfit to be measured."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from benchmarks.cases import CASES
from benchmarks.cli import main, option_parser, plan_of
from benchmarks.equivalence import Seen, faults
from benchmarks.handshakes import percentile
from benchmarks.load import Load, LoadFailed
from benchmarks.rounds import rotated
from benchmarks.site import REQUEST_HEADERS
from benchmarks.window import check_load

GOOD = Seen("TLSv1.3", "TLS_AES_128_GCM_SHA256", True, [name.lower() for name in REQUEST_HEADERS])
FAULTS = {
    "good": (GOOD, []),
    "version": (replace(GOOD, version="TLSv1.2"), ["speaks TLSv1.2, not TLSv1.3"]),
    "suite": (replace(GOOD, suite="X"), ["negotiates X, not TLS_AES_128_GCM_SHA256"]),
    "resumption": (replace(GOOD, resumed=False), ["does not resume TLS 1.3"]),
    "header": (replace(GOOD, headers=GOOD.headers[1:]), ["does not add X-Forwarded-For"]),
}


@pytest.mark.parametrize(("seen", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_of_a_peer(seen: Seen, expected: list[str]) -> None:
    assert faults(seen, version="1.3", key_type="ecdsa") == expected


def test_the_suite_of_tls_1_2_depends_on_the_key() -> None:
    seen = replace(GOOD, version="TLSv1.2", suite="ECDHE-RSA-AES128-GCM-SHA256")
    assert faults(seen, version="1.2", key_type="rsa") == []
    assert len(faults(seen, version="1.2", key_type="ecdsa")) == 1


LOADS = {  # case: (work case, units, errors, resumed, what is wrong)
    "good": ("small", 1000, 0, 0, None),
    "a_few_errors": ("small", 1000, 10, 0, None),
    "many_errors": ("small", 1000, 11, 0, "11 errors"),
    "nothing_done": ("small", 0, 0, 0, "not one unit"),
    "only_errors": ("small", 0, 5, 0, "5 errors"),
    "full": ("full-rsa-13", 1000, 0, 0, None),
    "full_but_resumed": ("full-rsa-13", 1000, 0, 1, "1 of 1000"),
    "resumed": ("resumed-13", 1000, 0, 992, None),
    "resumed_but_full": ("resumed-13", 1000, 0, 900, "only 900"),
}


@pytest.mark.parametrize(("name", "units", "errors", "resumed", "wrong"), LOADS.values(), ids=LOADS)
def test_a_window_that_did_other_work_is_refused(
    name: str, units: int, errors: int, resumed: int, wrong: str | None
) -> None:
    load = Load(units, 1.0, errors, 1, 1, resumed)
    with pytest.raises(LoadFailed, match=wrong) if wrong else nullcontext():
        check_load(CASES[name], load)


PERCENTILES = {
    "none": ([], 0.5, 0),
    "one": ([7], 0.99, 7),
    "median": ([1, 2, 3, 4], 0.5, 3),
    "last": (list(range(100)), 0.99, 99),
    "whole": ([1, 2], 1.0, 2),
}


@pytest.mark.parametrize(("ordered", "share", "expected"), PERCENTILES.values(), ids=PERCENTILES)
def test_percentile(ordered: list[int], share: float, expected: int) -> None:
    assert percentile(ordered, share) == expected


def test_each_round_begins_with_another_peer() -> None:
    assert [rotated(["a", "b", "c"], turn) for turn in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


PLANS = {  # case: (arguments, (rounds, seconds, warm, idle))
    "default": ([], (3, 4.0, 1.0, 2000)),
    "quick": (["--quick"], (1, 1.0, 0.0, 500)),
    "quick_but": (["--quick", "--rounds", "2", "--idle", "50"], (2, 1.0, 0.0, 50)),
    "given": (["--seconds", "8", "--warm", "0"], (3, 8.0, 0.0, 2000)),
}


@pytest.mark.parametrize(("arguments", "expected"), PLANS.values(), ids=PLANS)
def test_plan(arguments: list[str], expected: tuple[int, float, float, int]) -> None:
    plan = plan_of(option_parser().parse_args(arguments))
    assert (plan.rounds, plan.seconds, plan.warm, plan.idle) == expected
    assert len(plan.cases) == len(CASES)


@pytest.mark.parametrize("arguments", [["--peers", "apache"], ["--only", "nothing"]])
def test_a_word_that_means_nothing_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[1] in capsys.readouterr().err
