"""A client stays; a change moves only the clients it must."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clb.balancing.candidate import Candidate
from clb.balancing.ip_hash import IpHash

CLIENTS = [b"10.%d.%d.%d" % (at % 7, at >> 8 & 255, at & 255) for at in range(1000)]


def group(*weights: int) -> list[Candidate[None]]:
    return [Candidate(f"10.0.0.{at}", 8080, weight, None) for at, weight in enumerate(weights, 1)]


def homes(scheduler: IpHash[None]) -> dict[bytes, str | None]:
    return {c: found.identity if (found := scheduler.choose(c)) else None for c in CLIENTS}


WEIGHTS = st.lists(st.integers(1, 100), min_size=2, max_size=5)


@settings(max_examples=15, deadline=None)
@given(WEIGHTS, st.data())
def test_a_target_leaving_moves_only_its_own_clients(weights: list[int], data: st.DataObject) -> None:
    members = group(*weights)
    leaver = data.draw(st.sampled_from(members))
    how = data.draw(st.sampled_from(["unavailable", "weight_0", "removed"]))
    scheduler = IpHash(members)
    before = homes(scheduler)
    weight = leaver.weight
    if how == "unavailable":
        leaver.available = False
        scheduler.changed()
    elif how == "weight_0":
        leaver.weight = 0
        scheduler.changed()
    else:
        scheduler.update([c for c in members if c is not leaver])
    during = homes(scheduler)
    assert leaver.identity not in during.values()
    assert all(during[c] == home for c, home in before.items() if home != leaver.identity)
    leaver.available, leaver.weight = True, weight
    scheduler.update(members)
    assert homes(scheduler) == before


@settings(max_examples=15, deadline=None)
@given(WEIGHTS, st.data())
def test_a_higher_weight_only_attracts(weights: list[int], data: st.DataObject) -> None:
    members = group(*weights)
    grown = data.draw(st.sampled_from(members))
    scheduler = IpHash(members)
    before = homes(scheduler)
    grown.weight += data.draw(st.integers(1, 100))
    scheduler.changed()
    after = homes(scheduler)
    assert all(after[c] in (home, grown.identity) for c, home in before.items())


def test_order_and_memory_of_the_scheduler_do_not_matter() -> None:
    members = group(10, 20, 30)
    assert homes(IpHash(members)) == homes(IpHash(members[::-1]))


def test_homes_are_pinned_across_releases() -> None:
    """Another hash would move every client of every running rule at an upgrade."""
    scheduler = IpHash(group(10, 10, 20))
    clients = [b"203.0.113.1", b"203.0.113.2", b"203.0.113.3", b"2001:db8::1", b"2001:db8::2"]
    pinned = ["10.0.0.3", "10.0.0.1", "10.0.0.1", "10.0.0.3", "10.0.0.1"]
    assert [found.address for c in clients if (found := scheduler.choose(c))] == pinned


def test_second_choice_is_the_home_without_the_first() -> None:
    members = group(10, 20, 30)
    scheduler = IpHash(members)
    for client in CLIENTS[:200]:
        first = scheduler.choose(client)
        assert first is not None
        rest = IpHash([c for c in members if c is not first])
        assert scheduler.choose(client, [first]) is rest.choose(client)


@pytest.mark.parametrize("weights", [(10, 10, 10), (1, 2, 3, 4), (100, 10), (50,) * 10])
def test_shares_over_all_slots(weights: tuple[int, ...]) -> None:
    members = group(*weights)
    scheduler = IpHash(members)
    # Consecutive 4-byte keys reach every slot: a CRC is a bijection on them.
    counts = Counter(scheduler.choose(at.to_bytes(4, "big")) for at in range(65_536))
    for candidate in members:
        expected = candidate.weight / sum(weights)
        assert counts[candidate] / 65_536 == pytest.approx(expected, rel=0.08)


def test_memory_is_bounded_by_the_slots() -> None:
    scheduler = IpHash(group(10, 10))
    for at in range(0, 1_000_000, 13):
        scheduler.choose(b"%d" % at)
    assert len(scheduler._slots) <= 65_536
