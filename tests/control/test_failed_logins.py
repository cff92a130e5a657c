"""Sources that send wrong credentials: slowed down alone, in tables that have a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.control.failed_logins import (
    BURST,
    EACH_S,
    MOST_COUNTED,
    MOST_SOURCES,
    OTHERS,
    FailureLimit,
    RefusalCounts,
    network_of,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_burst_then_one_at_a_time(clock):
    limit = FailureLimit(clock)
    for _ in range(BURST):
        assert limit.wait_s("192.0.2.1") == 0
        limit.failed("192.0.2.1")
    assert limit.wait_s("192.0.2.1") == pytest.approx(EACH_S)
    clock.now += EACH_S - 0.5
    assert limit.wait_s("192.0.2.1") == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.wait_s("192.0.2.1") == pytest.approx(0)
    clock.now += 1e9
    for _ in range(BURST):
        limit.failed("192.0.2.1")
    assert limit.wait_s("192.0.2.1") > 0, "an hour of quiet gives no more than a burst"


def test_other_sources_do_not_notice(clock):
    limit = FailureLimit(clock)
    for _ in range(1000):
        limit.failed("192.0.2.1")
    assert limit.wait_s("192.0.2.2") == 0
    assert len(limit) == 1


def test_the_table_has_a_bound_and_keeps_who_failed_last(clock):
    limit = FailureLimit(clock)
    for number in range(3 * MOST_SOURCES):
        for _ in range(BURST):
            limit.failed("203.0.113.7")
        limit.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        assert len(limit) <= MOST_SOURCES
    assert limit.wait_s("203.0.113.7") > 0


NETWORKS = {
    "ipv4": ("192.0.2.1", "192.0.2.1"),
    "ipv6": ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    "same_network": ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
    "mapped": ("::ffff:192.0.2.1", "192.0.2.1"),
    "with_zone": ("fe80::1%eth0", "fe80::/64"),
    "none": ("", ""),
    "odd": ("x" * 1000, "x" * 64),
}


@pytest.mark.parametrize(("source", "network"), NETWORKS.values(), ids=NETWORKS)
def test_networks(source, network):
    assert network_of(source) == network


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=200))
def test_nobody_fails_faster_than_the_rate(steps):
    clock = Clock()
    limit = FailureLimit(clock)
    begun, tried = clock.now, 0
    for source, pause in steps:
        clock.now += pause
        if limit.wait_s(source) == 0:
            limit.failed(source)
            tried += source == "a"
    assert tried <= BURST + (clock.now - begun) / EACH_S + 1e-6


def test_refusals_are_counted_by_source_and_reason():
    counts = RefusalCounts()
    for reason in ("wrong", "wrong", "expired"):
        counts.add("192.0.2.1", reason)
    (told,) = counts.take()
    assert (told.source, told.reasons) == ("192.0.2.1", {"expired": 1, "wrong": 2})
    assert counts.take() == []


def test_many_sources_are_counted_together():
    counts = RefusalCounts()
    for number in range(1000):
        counts.add(f"10.0.{number >> 8}.{number & 255}", "wrong")
    told = counts.take()
    assert len(told) == MOST_COUNTED + 1
    assert told[-1].source == OTHERS
    assert sum(each.reasons["wrong"] for each in told) == 1000
