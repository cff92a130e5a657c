"""Sums of bytes by class: what adds up, and what is taken out again when a peer went away."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.metering.counters import Traffic, after_abort

CLASSES = [field.name for field in fields(Traffic)]
COUNTS = st.integers(0, 1 << 40)
RECORD = 16384


def test_every_class_is_added() -> None:
    total = Traffic(**dict.fromkeys(CLASSES, 1))
    total.add(Traffic(**{name: 10 + number for number, name in enumerate(CLASSES)}))
    assert [getattr(total, name) for name in CLASSES] == [11 + number for number in range(len(CLASSES))]


def test_residuals_are_what_is_in_no_class() -> None:
    traffic = Traffic(
        wire_in=100, handshake_in=50, billed_in=30, overhead_in=15, wire_out=9, billed_out=10, unsent_out=7
    )
    assert (traffic.residual_in, traffic.residual_out) == (5, -1)


# --- after an abort ---

# case: (handshake, billed, overhead as written, acknowledged, expansion) -> handshake, billed, overhead, unsent
ABORTS = {
    "all_arrived": ((1000, 500, 22, 1522, 22), (1000, 500, 22, 0)),
    "more_acknowledged_than_written": ((1000, 500, 22, 9999, 22), (1000, 500, 22, 0)),
    "last_byte_missing": ((1000, 500, 22, 1521, 22), (1000, 500, 21, 1)),
    "last_record_missing": ((1000, 500, 22, 1000, 22), (1000, 0, 0, 522)),
    "some_of_the_last_record": ((1000, 500, 22, 1100, 22), (1000, 100, 0, 422)),
    "into_the_handshake": ((1000, 500, 22, 300, 22), (300, 0, 0, 1222)),
    "nothing_arrived": ((1000, 500, 22, 0, 22), (0, 0, 0, 1522)),
    "two_full_records_of_four": (
        (1000, 4 * RECORD, 4 * 22, 1000 + 2 * (RECORD + 22), 22),
        (1000, 2 * RECORD, 2 * 22, 2 * (RECORD + 22)),
    ),
    "a_record_and_a_bit": (
        (0, 4 * RECORD, 4 * 22, 4 * (RECORD + 22) - (RECORD + 22 + 100), 22),
        (0, 3 * RECORD - 78, 2 * 22, RECORD + 22 + 100),
    ),
    "overhead_without_payload": ((1000, 0, 24, 1000, 22), (1000, 0, 0, 24)),
    "plain_listener": ((0, 500, 0, 200, 0), (0, 200, 0, 300)),
}


@pytest.mark.parametrize(("written", "expected"), ABORTS.values(), ids=ABORTS)
def test_after_abort(written: tuple[int, int, int, int, int], expected: tuple[int, int, int, int]) -> None:
    handshake, billed, overhead, acknowledged, expansion = written
    wire = handshake + billed + overhead
    traffic = Traffic(wire_out=wire, handshake_out=handshake, billed_out=billed, overhead_out=overhead)
    after = after_abort(traffic, acknowledged, expansion, RECORD)
    assert (after.handshake_out, after.billed_out, after.overhead_out, after.unsent_out) == expected
    assert after.residual_out == 0
    assert after.wire_out == min(wire, acknowledged)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from([0, 21, 22, 29, 57]))
def test_after_abort_always_adds_up(
    handshake: int, billed: int, overhead: int, acknowledged: int, expansion: int
) -> None:
    wire = handshake + billed + overhead
    traffic = Traffic(
        wire_in=7, billed_in=7, wire_out=wire, handshake_out=handshake, billed_out=billed, overhead_out=overhead
    )
    after = after_abort(traffic, acknowledged, expansion, RECORD)
    assert after.residual_out == 0
    assert after.residual_in == 0
    assert after.wire_out == min(wire, acknowledged)
    assert after.unsent_out == wire - after.wire_out
    assert 0 <= after.handshake_out <= handshake
    assert 0 <= after.billed_out <= billed
    assert 0 <= after.overhead_out <= overhead
    assert after.as_written() == replace(
        after, wire_out=wire, handshake_out=handshake, billed_out=billed, overhead_out=overhead
    )
    # Nothing of the handshake is missing while anything behind it has arrived.
    assert after.handshake_out == handshake or after.billed_out == after.overhead_out == 0
