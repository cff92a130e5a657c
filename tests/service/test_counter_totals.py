"""Counter files as management shows them."""

from __future__ import annotations

import logging

import pytest

from clb.metering.counter_fields import Kind, field_index
from clb.metering.counter_file import open_counter_file
from clb.service.counter_totals import CountersFollowed

LISTENER = "shop/https"
RULE = "shop/https shop.example.com/"
TARGET = f"{RULE} 10.0.0.1:80"


def count(file, kind, key, **counters):
    record = file.record(kind, key)
    for name, value in counters.items():
        record[field_index(kind, name)] += value


@pytest.fixture
def files(tmp_path):
    """Two workers' files."""
    files = [open_counter_file(tmp_path, print) for _ in range(2)]
    yield files
    for file in files:
        file.close()


@pytest.fixture
def counters(tmp_path, files):
    counters = CountersFollowed(tmp_path)
    yield counters
    counters.close()


def test_workers_are_added_up(files, counters):
    for file in files:
        count(file, Kind.LISTENER, LISTENER, connections=2, handshakes_full=1, failed_timeout=1, refused_connections=3)
        count(file, Kind.LISTENER, LISTENER, handshake_out=10, unsent_wire_out=4, unsent_billed_out=3)
        count(file, Kind.TARGET, TARGET, requests_2xx=5, requests_none=1, latency_us=500_000, failed_dial_refused=2)
    totals = counters()
    listener = totals.listener(LISTENER)
    assert (listener.connections, listener.handshakes_full, listener.handshakes_resumed) == (4, 2, 0)
    assert listener.handshakes_failed == {"timeout": 2}
    assert listener.refused == {"connections": 6}
    assert (listener.traffic.handshake_out, listener.traffic.unsent_out) == (20, 8)
    # A request is counted with its target, and belongs to the rule and the listener too.
    for requests in (listener.requests, totals.rule(RULE).requests, totals.target(TARGET).requests):
        assert (requests["2xx"], requests["none"], requests["5xx"]) == (10, 2, 0)
    target = totals.target(TARGET)
    assert target.failures == {"dial_refused": 4}
    assert (target.latency.count, target.latency.sum_s) == (10, 1.0)


def test_what_was_written_and_never_arrived_is_taken_out(files, counters):
    count(files[0], Kind.LISTENER, LISTENER, unsent_wire_out=7, unsent_billed_out=5, unsent_handshake_out=2)
    traffic = counters().listener(LISTENER).traffic
    assert (traffic.wire_out, traffic.billed_out, traffic.handshake_out, traffic.unsent_out) == (-7, -5, -2, 7)


def test_what_nobody_counted(counters):
    totals = counters()
    assert (totals.listener(LISTENER), totals.rule(RULE), totals.target(TARGET)) == (None, None, None)


def test_numbers_grow_from_one_reading_to_the_next(files, counters):
    count(files[0], Kind.LISTENER, LISTENER, connections=1)
    assert counters().listener(LISTENER).connections == 1
    count(files[1], Kind.LISTENER, LISTENER, connections=1)
    assert counters().listener(LISTENER).connections == 2


def test_a_file_that_cannot_be_read_is_told_of_once(tmp_path, files, counters, caplog):
    (tmp_path / "worker-9.counters").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        count(files[0], Kind.LISTENER, LISTENER, connections=1)
        assert counters().listener(LISTENER).connections == 1
        counters()
    assert [record.message for record in caplog.records] == ["counters cannot be read"]
