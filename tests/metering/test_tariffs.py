"""Tariffs: exact money of recorded figures."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clb.metering.tariffs import HOUR, Recorded, Slice, Tariff, Tariffs, cost, lcus, percentile

GB = 1_000_000_000
MONTH = 30 * 86400


def tariff(**keys):
    return Tariff.model_validate({"kind": "traffic", "price": "0.08", **keys})


def recorded(*slices, seconds=MONTH):
    return Recorded(seconds, slices, slices)


TRAFFIC = {
    "out": ({}, [Slice(5 * GB, 10 * GB)], "0.80"),
    "in": ({"directions": "in"}, [Slice(5 * GB, 10 * GB)], "0.40"),
    "both": ({"directions": "both"}, [Slice(5 * GB, 10 * GB)], "1.20"),
    "several_hours": ({}, [Slice(0, GB), Slice(0, 2 * GB)], "0.24"),
    "binary": ({"gb_bytes": 1_073_741_824}, [Slice(0, 1_073_741_824)], "0.08"),
    "nothing": ({}, [], "0.00"),
    "per_hour": ({"per_hour": "0.01"}, [], "7.20"),
    "below_a_step": ({"steps": ({"above_gb": 100, "price": "0.04"},)}, [Slice(0, 10 * GB)], "0.80"),
    "above_a_step": ({"steps": ({"above_gb": 100, "price": "0.04"},)}, [Slice(0, 150 * GB)], "10.00"),
    "above_two": (
        {"steps": ({"above_gb": 100, "price": "0.04"}, {"above_gb": 120, "price": "0"})}, [Slice(0, 150 * GB)], "8.80",
    ),
    "half_to_even": ({"price": "0.005"}, [Slice(0, GB)], "0.00"),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "slices", "expected"), TRAFFIC.values(), ids=TRAFFIC)
def test_by_traffic(keys, slices, expected):
    assert cost(tariff(**keys), recorded(*slices)).amount == Decimal(expected)


def test_by_bandwidth():
    window = 300 * 1_000_000 // 8  # One megabit a second.
    slices = [Slice(0, window * number) for number in range(1, 101)]
    of = {"kind": "bandwidth", "price": "2"}
    assert cost(tariff(**of, measure="peak"), recorded(*slices, seconds=30000)).amount == 200
    assert cost(tariff(**of), recorded(*slices, seconds=30000)).amount == 190
    both = cost(tariff(**of, measure="peak", directions="both"), recorded(Slice(window * 7, window), seconds=300))
    assert (both.amount, both.basis) == (14, "7.000000 Mbit/s, peak of 1 times five minutes")


LCUS = {
    "connections": (Slice(0, 0, connections=25 * HOUR * 2), 2),
    "open": (Slice(0, 0, open_peak=9000), 3),
    "bytes": (Slice(GB, 3 * GB), 4),
    "evaluations": (Slice(0, 0, evaluations=5000 * HOUR), 5),
    "largest": (Slice(GB, 0, connections=25 * HOUR, open_peak=30_000, evaluations=HOUR), 10),
}


@pytest.mark.parametrize(("hour", "expected"), LCUS.values(), ids=LCUS)
def test_lcus(hour, expected):
    assert lcus(hour) == expected
    assert cost(tariff(kind="lcu", price="0.5"), recorded(hour, hour)).amount == expected


@given(st.lists(st.integers(0, 1000), max_size=200), st.integers(1, 300), st.sampled_from([50, 95, 100]))
def test_percentiles(found, windows, percent):
    filled = sorted((sorted(found, reverse=True)[:windows] + [0] * windows)[:windows])
    value = percentile(found, windows, percent)
    assert sum(each <= value for each in filled) * 100 >= windows * percent
    assert value == 0 or sum(each < value for each in filled) * 100 < windows * percent


BAD = {
    "a_float": {"price": 0.08},
    "no_number": {"price": "cheap"},
    "negative": {"price": "-1"},
    "endless": {"price": "Infinity"},
    "too_long": {"price": "0." + "1" * 40},
    "empty": {"price": " "},
    "steps_of_bandwidth": {"kind": "bandwidth", "steps": ({"above_gb": 1, "price": "1"},)},
    "steps_that_fall": {"steps": ({"above_gb": 2, "price": "1"}, {"above_gb": 1, "price": "1"})},
    "unknown_key": {"pricee": "1"},
}


@pytest.mark.parametrize("keys", BAD.values(), ids=BAD)
def test_what_is_no_tariff(keys):
    with pytest.raises(ValidationError):
        tariff(**keys)


def test_a_file_has_at_least_one():
    with pytest.raises(ValidationError):
        Tariffs.model_validate({"tariffs": {}})
