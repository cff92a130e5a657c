"""Audit records on their way into the store."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from memory_store import MemoryStore, NothingApplied

from clb.control.access import audit
from clb.control.audit_trail import MOST_WAITING, REFUSALS_EACH, AuditTrail
from clb.control.writer import Writer
from clb.store.interface import OutcomeUnknown, StoreAway

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def record(number: int = 0):
    return audit("clb", "node.reload", f"number {number}", at=NOW, request_id="req-1")


@pytest.fixture
def trail():
    return AuditTrail()


@pytest.fixture
def store():
    return MemoryStore()


def flush(trail, store):
    return asyncio.run(trail.flush(Writer(store, NothingApplied(), store.inventory)))


def test_records_reach_the_store_in_order_and_count_no_revision(trail, store):
    for number in range(3):
        trail.add(record(number))
    assert flush(trail, store)
    assert [each.subject for each in store.records] == ["number 0", "number 1", "number 2"]
    assert store.inventory.revision == 0
    assert flush(trail, store)
    assert len(store.records) == 3


def test_without_a_writer_they_wait(trail, store):
    assert asyncio.run(trail.flush(None))
    trail.add(record())
    assert not asyncio.run(trail.flush(None))
    assert flush(trail, store)
    assert len(store.records) == 1


@pytest.mark.parametrize("fault", [StoreAway("gone"), OutcomeUnknown("gone")])
def test_they_wait_for_a_store_that_is_away_and_are_logged_at_once(trail, store, fault, caplog):
    store.fault = fault
    with caplog.at_level(logging.INFO):
        trail.add(record(7))
    assert any(entry.message == "audit" for entry in caplog.records)
    assert not flush(trail, store)
    assert len(trail) == 1
    store.fault = None
    trail.add(record(8))
    assert flush(trail, store)
    assert [each.subject for each in store.records] == ["number 7", "number 8"]


def test_what_waits_has_a_bound(trail, store):
    store.fault = StoreAway("gone")
    for number in range(MOST_WAITING + 5):
        trail.add(record(number))
        if number == 10:
            assert not flush(trail, store)
    assert len(trail) == MOST_WAITING
    assert trail.dropped == 5
    store.fault = None
    assert flush(trail, store)
    assert store.records[-1].subject == f"number {MOST_WAITING + 4}"


def test_refusals_are_one_record_for_each_source_in_a_while(trail):
    trail.gather_refusals(NOW)
    for _ in range(1000):
        trail.refusals.add("192.0.2.1", "wrong")
    trail.gather_refusals(NOW + REFUSALS_EACH - timedelta(seconds=1))
    assert len(trail) == 0
    trail.gather_refusals(NOW + REFUSALS_EACH)
    assert len(trail) == 1
    trail.refusals.add("192.0.2.1", "expired")
    trail.gather_refusals(NOW + REFUSALS_EACH, at_once=True)
    assert len(trail) == 2


def test_what_a_record_of_refusals_says(trail, store):
    trail.gather_refusals(NOW)
    for reason in ("wrong", "expired", "wrong"):
        trail.refusals.add("192.0.2.1", reason)
    trail.gather_refusals(NOW + REFUSALS_EACH)
    assert flush(trail, store)
    (kept,) = store.records
    assert (kept.actor, kept.action, kept.outcome) == ("192.0.2.1", "access.refuse", "refused")
    assert kept.after == {
        "attempts": 3,
        "reasons": {"expired": 1, "wrong": 2},
        "since": "2026-03-01T00:00:00+00:00",
    }


def test_a_clock_that_is_put_back_loses_nothing(trail):
    trail.gather_refusals(NOW)
    trail.refusals.add("192.0.2.1", "wrong")
    trail.gather_refusals(NOW - timedelta(days=1))
    trail.gather_refusals(NOW - timedelta(days=1) + REFUSALS_EACH)
    assert len(trail) == 1
