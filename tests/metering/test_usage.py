"""Rows of the durable ledger: amounts, growth, buckets, net figures, evaluations, and the chain of hours."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.metering.counter_fields import FIELDS, Kind
from clb.metering.counters import net_traffic
from clb.metering.usage import (
    AMOUNTS,
    GENESIS,
    HOUR,
    MINUTE,
    Row,
    added,
    amounts_of,
    bucket,
    canonical,
    chained,
    digest_of,
    evaluations,
    grown,
    net,
    requests_of,
)
from clb.store.tables import USAGE_AMOUNTS

COUNTS = st.dictionaries(st.sampled_from(FIELDS[Kind.LISTENER]), st.integers(0, 1 << 40))


def whole(counts):
    return {**dict.fromkeys(FIELDS[Kind.LISTENER], 0), **counts}


def test_the_table_has_the_amounts():
    assert USAGE_AMOUNTS == AMOUNTS


def test_amounts_of_a_listener():
    counts = whole(
        {"wire_in": 5, "failed_timeout": 2, "failed_expired": 1, "refused_access_denied": 4, "requests_2xx": 3}
    )
    assert amounts_of(counts) == {
        "wire_in": 5, "handshakes_failed": 3, "refused": 4, "requests_2xx": 3,
    }  # fmt: skip
    assert requests_of(amounts_of(counts)) == 3


@given(COUNTS)
def test_net_figures_are_those_of_the_live_counters(counts):
    live, kept = net_traffic(whole(counts)), net(amounts_of(whole(counts)))
    for name in ("wire_in", "wire_out", "handshake_in", "handshake_out", "billed_in", "billed_out", "overhead_out"):
        assert getattr(kept, name) == getattr(live, name)
    assert (kept.residual_in, kept.residual_out) == (live.residual_in, live.residual_out)


@given(st.lists(st.dictionaries(st.sampled_from(AMOUNTS), st.integers(0, 1 << 40)), max_size=8))
def test_growths_of_readings_add_up_to_the_last(steps):
    readings = [added(steps[: count + 1]) for count in range(len(steps))]
    total, last = {}, {}
    for reading in readings:
        growth, fell = grown(reading, last)
        assert not fell
        total, last = added([total, growth]), reading
    assert {name: count for name, count in total.items() if count} == {
        name: count for name, count in added(steps).items() if count
    }


def test_what_is_lower_is_told_and_takes_nothing_back():
    assert grown({"wire_in": 3, "wire_out": 9}, {"wire_in": 5, "wire_out": 7}) == ({"wire_out": 2}, True)
    assert grown({}, {"wire_in": 5}) == ({}, True)


EVALUATIONS = {"none": (0, 5, 0), "few_rules": (7, 10, 7), "eleven": (7, 11, 7), "many": (7, 5000, 7 * 4990)}


@pytest.mark.parametrize(("requests", "rules", "expected"), EVALUATIONS.values(), ids=EVALUATIONS)
def test_evaluations(requests, rules, expected):
    assert evaluations(requests, rules) == expected


def test_buckets_do_not_go_back_with_the_clock():
    assert bucket(125, MINUTE) == 120
    assert bucket(125, MINUTE, 180) == 180
    assert bucket(7199, HOUR) == 3600


def rows():
    return [
        Row(Kind.LISTENER, "shop/https", "acme", {"wire_in": 5}, 2),
        Row(Kind.RULE, "shop/https a.test/", "acme", {"billed_in": 4}),
        Row(Kind.LISTENER, "shop/https", "", {"wire_in": 1}, 0, 60),
    ]


def test_an_hour_has_one_digest_in_whatever_order_its_rows_come():
    expected = digest_of("node-1", 3600, rows())
    for seed in range(5):
        shuffled = rows()
        random.Random(seed).shuffle(shuffled)
        assert digest_of("node-1", 3600, shuffled) == expected
    assert canonical("n", 0, []) == b'["n",0,[]]'


CHANGES = {
    "node": ("node-2", 3600, rows()),
    "hour": ("node-1", 7200, rows()),
    "row": ("node-1", 3600, rows()[1:]),
    "amount": ("node-1", 3600, [Row(Kind.LISTENER, "shop/https", "acme", {"wire_in": 6}, 2), *rows()[1:]]),
    "peak": ("node-1", 3600, [Row(Kind.LISTENER, "shop/https", "acme", {"wire_in": 5}, 3), *rows()[1:]]),
    "since": ("node-1", 3600, [*rows()[:2], Row(Kind.LISTENER, "shop/https", "", {"wire_in": 1}, 0, 61)]),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_any_change_is_another_digest(changed):
    assert digest_of(*changed) != digest_of("node-1", 3600, rows())


def test_a_link_holds_for_all_before_it():
    first = chained(GENESIS, 1, "a" * 64)
    assert chained(first, 2, "b" * 64) != chained(chained(GENESIS, 1, "c" * 64), 2, "b" * 64)
    assert chained(GENESIS, 2, "a" * 64) != first
