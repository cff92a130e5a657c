"""Lowest load for the weight, and ties in the order of weighted round robin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.balancing.candidate import Candidate
from clb.balancing.least_conn import LeastConnections
from clb.balancing.shared_load import SharedLoad


@dataclass
class View:
    """The table as one worker sees it."""

    own: memoryview
    others: list[memoryview]


def group(*states: tuple[int, int]) -> list[Candidate[None]]:
    members: list[Candidate[None]] = []
    for port, (in_flight, weight) in enumerate(states):
        members.append(Candidate("10.0.0.5", port, weight, None))
        members[-1].in_flight = in_flight
    return members


def first_turns(below: int) -> int:
    return 0


CHOICES = {  # case: ((in flight, weight), ...), index of the choice
    "lowest": (((3, 1), (2, 1), (4, 1)), 1),
    "for_the_weight": (((3, 1), (20, 10)), 1),
    "idle_but_not_its_turn": (((5, 100), (0, 1)), 1),
    "close_ratios": (((100_000_000, 100), (99_000_001, 99)), 0),
    "equal_ratios_by_turn": (((3, 3), (2, 2)), 0),
    "equal_thirds_by_turn": (((1, 3), (10, 30), (33, 99)), 2),
}


@pytest.mark.parametrize(("states", "index"), CHOICES.values(), ids=CHOICES)
def test_choice(states: tuple[tuple[int, int], ...], index: int) -> None:
    members = group(*states)
    assert LeastConnections(members, first_turns).choose(b"") is members[index]


def test_idle_targets_take_turns_by_weight() -> None:
    members = group((0, 5), (0, 1), (0, 1))
    scheduler = LeastConnections(members, first_turns)
    ports = [c.port for _ in range(7) if (c := scheduler.choose(b"")) is not None]
    assert ports == [0, 0, 1, 0, 2, 0, 0]


def test_tied_targets_take_turns() -> None:
    members = group((1, 1), (1, 1), (9, 1))
    scheduler = LeastConnections(members, first_turns)
    counts = Counter(scheduler.choose(b"") for _ in range(30))
    assert set(counts) == set(members[:2])
    assert min(counts.values()) >= 10


def test_a_tie_between_turns_far_apart_is_still_decided() -> None:
    members = group((900, 100), (1, 1), (1, 1))
    scheduler = LeastConnections(members, first_turns)
    assert {scheduler.choose(b"") for _ in range(300)} == set(members[1:])


def test_tried_idle_target_is_passed_over() -> None:
    idle, busy = members = group((0, 1), (7, 1))
    scheduler = LeastConnections(members, first_turns)
    assert scheduler.choose(b"", [idle]) is busy
    assert scheduler.choose(b"", members) is None


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 100)), min_size=1, max_size=8), st.integers(0, 99))
def test_no_other_load_is_lower(states: list[tuple[int, int]], seed: int) -> None:
    members = group(*states)
    scheduler = LeastConnections(members, Random(seed).randrange)
    for _ in range(3):
        found = scheduler.choose(b"")
        assert found is not None
        # In whole numbers: a/b <= c/d as a*d <= c*b.
        assert all(found.in_flight * c.weight <= c.in_flight * found.weight for c in members)


def test_work_under_way_settles_by_weight() -> None:
    members = group((0, 1), (0, 3), (0, 6))
    scheduler = LeastConnections(members, Random(5).randrange)
    for _ in range(1000):
        found = scheduler.choose(b"")
        assert found is not None
        found.in_flight += 1
    assert [c.in_flight for c in members] == pytest.approx([100, 300, 600], abs=2)


def whole_node(workers: int, weights: tuple[int, ...]) -> list[tuple[list[Candidate[None]], LeastConnections[None]]]:
    """The same targets in several workers, each with its column."""
    cells = [memoryview(bytearray(8 * 8 * len(weights))).cast("q") for _ in range(workers)]
    node = []
    for own in range(workers):
        members = group(*((0, weight) for weight in weights))
        others = [column for index, column in enumerate(cells) if index != own]
        for at, member in enumerate(members):
            member.shared = SharedLoad(View(cells[own], others), at * 8, at * 8 + 3)
        node.append((members, LeastConnections(members, Random(own).randrange)))
    return node


def test_nobody_watches_where_there_is_nobody_to_tell() -> None:
    assert LeastConnections(group((0, 1)), first_turns).watcher is None


@pytest.mark.parametrize("split", [1, 2, 5])
def test_the_node_is_level_however_the_work_falls_to_its_workers(split: int) -> None:
    node = whole_node(2, (1, 3, 6))
    for number in range(1000):
        _, scheduler = node[number % (split + 1) == 0]
        found = scheduler.choose(b"")
        assert found is not None
        assert scheduler.watcher is not None
        found.in_flight += 1
        scheduler.watcher.began(found)
    sums = [a.in_flight + b.in_flight for a, b in zip(node[0][0], node[1][0], strict=True)]
    assert sums == pytest.approx([100, 300, 600], abs=2)


def test_what_ends_in_one_worker_is_seen_by_the_other() -> None:
    (first_members, first), (second_members, second) = whole_node(2, (1, 1))
    for member in first_members:
        member.in_flight = 1
        first.began(member)
    first_members[1].in_flight = 0
    first.answered(first_members[1], 0.1, 0.0)
    first.failed(first_members[1], 0.0)
    first.ended(first_members[1])
    assert {second.choose(b"") for _ in range(4)} == {second_members[1]}


def test_a_target_that_has_no_row_is_counted_here_only() -> None:
    ((members, scheduler),) = whole_node(1, (1, 1))
    members[0].shared = None
    members[0].in_flight = 3
    scheduler.began(members[0])
    scheduler.ended(members[0])
    assert {scheduler.choose(b"") for _ in range(4)} == {members[1]}
