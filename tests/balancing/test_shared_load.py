"""Sums over the other workers' columns."""

from __future__ import annotations

from dataclasses import dataclass

from clb.balancing.shared_load import SharedLoad


@dataclass
class View:
    """The table as one worker sees it."""

    own: memoryview
    others: list[memoryview]


def columns(count: int) -> list[memoryview]:
    return [memoryview(bytearray(8 * 16)).cast("q") for _ in range(count)]


def test_the_own_column_is_written_and_the_others_are_read() -> None:
    own, *others = columns(3)
    load = SharedLoad(View(own, others), 8, 11)
    others[0][8], others[1][8] = 3, 4
    load.publish(5)
    assert (own[8], load.elsewhere()) == (5, 7)


def test_latency_is_the_mean_of_those_who_know_it() -> None:
    own, *others = columns(4)
    load = SharedLoad(View(own, others), 8, 11)
    assert load.latency_elsewhere_s() is None
    others[0][11], others[2][11] = 10_000, 30_000
    assert load.latency_elsewhere_s() == 0.02
    load.publish_latency(0.5)
    assert own[11] == 500_000
    assert load.latency_elsewhere_s() == 0.02
