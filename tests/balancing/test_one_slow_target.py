"""A node in time that is only counted: workers, real servers, arrivals. What clients wait, by strategy.

One of three real servers takes ten times as long as the others. What is compared is the time that 99 of 100 requests
stay below, and it is printed (`pytest -s`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

import pytest

from clb.balancing.candidate import Candidate
from clb.balancing.scheduler import Scheduler, create_scheduler
from clb.balancing.shared_load import SharedLoad

QUICK_S, SLOW_S = 0.005, 0.050
THREADS = 16
"""Requests that a real server works on at once; the others wait there."""


@dataclass
class View:
    """The table as one worker sees it."""

    own: memoryview
    others: list[memoryview]


class RealServer:
    """Works on so many at once, first come, first served."""

    def __init__(self, service_s: float) -> None:
        self.service_s = service_s
        self.free_at = [0.0] * THREADS

    def answers_at(self, now: float, draw: Random) -> float:
        thread = self.free_at.index(min(self.free_at))
        self.free_at[thread] = max(now, self.free_at[thread]) + draw.expovariate(1 / self.service_s)
        return self.free_at[thread]


class Node:
    """Workers with the same targets; the kernel deals connections out at random."""

    def __init__(self, strategy: str, workers: int, weights: tuple[int, ...] = (10, 10, 10), seed: int = 1) -> None:
        self.now = 0.0
        self.draw = Random(seed)
        cells = [memoryview(bytearray(8 * 8 * len(weights))).cast("q") for _ in range(workers)]
        self.workers: list[tuple[list[Candidate[int]], Scheduler[int]]] = []
        for own in range(workers):
            members = [Candidate("10.0.0.5", 80 + at, weight, at) for at, weight in enumerate(weights)]
            view = View(cells[own], [column for index, column in enumerate(cells) if index != own])
            for at, member in enumerate(members):
                member.shared = SharedLoad(view, at * 8, at * 8 + 3)
            random_below = Random(seed + own).randrange
            self.workers.append((members, create_scheduler(strategy, members, random_below, lambda: self.now)))

    def choose(self) -> tuple[Candidate[int], Scheduler[int]]:
        _, scheduler = self.draw.choice(self.workers)
        found = scheduler.choose(b"")
        assert found is not None
        found.in_flight += 1
        if scheduler.watcher is not None:
            scheduler.watcher.began(found)
        return found, scheduler

    def waits(self, requests: int, rate: float, servers: list[RealServer]) -> list[float]:
        """How long clients wait who come at random, so many a second on average."""
        done: list[tuple[float, int, float, Candidate[int], Scheduler[int]]] = []
        waits, arrival = [], 0.0
        for number in range(requests):
            arrival += self.draw.expovariate(rate)
            while done and done[0][0] <= arrival:
                self._answer(*heappop(done))
            self.now = arrival
            found, scheduler = self.choose()
            answered_at = servers[found.payload].answers_at(arrival, self.draw)
            heappush(done, (answered_at, number, arrival, found, scheduler))
            waits.append(answered_at - arrival)
        return waits

    def _answer(self, now: float, number: int, began: float, found: Candidate[int], scheduler: Scheduler[int]) -> None:
        self.now = now
        found.in_flight -= 1
        if scheduler.watcher is not None:
            scheduler.watcher.answered(found, now - began, now)
            scheduler.watcher.ended(found)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("rate", [200.0, 900.0], ids=["calm", "busy"])
def test_who_looks_beats_who_does_not(workers: int, rate: float) -> None:
    p99_ms = {}
    for strategy in ("wrr", "least_conn", "p2c_ewma"):
        waits = Node(strategy, workers).waits(
            20_000, rate, [RealServer(SLOW_S), RealServer(QUICK_S), RealServer(QUICK_S)]
        )
        p99_ms[strategy] = sorted(waits)[len(waits) * 99 // 100] * 1000
    print(f"\n{workers} workers, {rate:.0f}/s: p99 in ms", {name: round(p99, 1) for name, p99 in p99_ms.items()})
    assert p99_ms["p2c_ewma"] < p99_ms["wrr"] / 2
    assert p99_ms["least_conn"] < p99_ms["wrr"]


@pytest.mark.parametrize("per_connection", [1, 3, 100, 30_000])
def test_shares_of_the_node_follow_the_weights_within_one_in_a_hundred(per_connection: int) -> None:
    """60,000 requests, on connections that fall to the two workers at random."""
    node = Node("wrr", 2, (1, 2, 3))
    counts: Counter[int] = Counter()
    for _ in range(60_000 // per_connection):
        _, scheduler = node.draw.choice(node.workers)
        for _ in range(per_connection):
            found = scheduler.choose(b"")
            assert found is not None
            counts[found.payload] += 1
    for at, weight in enumerate((1, 2, 3)):
        assert counts[at] == pytest.approx(60_000 * weight / 6, rel=0.01)


@pytest.mark.parametrize("strategy", ["least_conn", "p2c_ewma"])
def test_the_same_real_servers_get_the_same(strategy: str) -> None:
    node = Node(strategy, 2)
    counts: Counter[int] = Counter()
    servers = [RealServer(QUICK_S) for _ in range(3)]
    original = node.choose

    def choose() -> tuple[Candidate[int], Scheduler[int]]:
        found, scheduler = original()
        counts[found.payload] += 1
        return found, scheduler

    node.choose = choose  # type: ignore[method-assign]
    node.waits(30_000, 600.0, servers)
    assert [counts[at] for at in range(3)] == pytest.approx([10_000] * 3, rel=0.05)


def test_a_real_server_that_recovers_gets_its_share_again() -> None:
    node = Node("p2c_ewma", 2)
    servers = [RealServer(QUICK_S) for _ in range(3)]
    servers[0].service_s = 0.5
    node.waits(5_000, 300.0, servers)
    servers[0].service_s = QUICK_S
    shares = []
    original = node.choose

    def choose() -> tuple[Candidate[int], Scheduler[int]]:
        found, scheduler = original()
        shares.append(found.payload == 0)
        return found, scheduler

    node.choose = choose  # type: ignore[method-assign]
    node.waits(30_000, 300.0, servers)
    late = shares[-3_000:]
    assert sum(late) / len(late) > 0.2
