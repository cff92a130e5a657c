"""Identity and the all-dead-all-alive rule."""

from __future__ import annotations

import pytest

from clb.balancing.candidate import Candidate, takers_of_work, without

IDENTITIES = {
    "ipv4": ("10.0.0.5", "10.0.0.5:8080"),
    "name": ("app.internal", "app.internal:8080"),
    "ipv6": ("2001:db8::1", "[2001:db8::1]:8080"),
}


@pytest.mark.parametrize(("address", "identity"), IDENTITIES.values(), ids=IDENTITIES)
def test_identity(address: str, identity: str) -> None:
    assert Candidate(address, 8080, 10, None).identity == identity


def test_payload_and_start() -> None:
    candidate = Candidate("10.0.0.5", 8080, 7, "pool", available=False)
    assert (candidate.payload, candidate.in_flight, candidate.available) == ("pool", 0, False)
    assert repr(candidate) == "<Candidate 10.0.0.5:8080 weight=7 in_flight=0 unavailable>"
    candidate.available = True
    assert repr(candidate) == "<Candidate 10.0.0.5:8080 weight=7 in_flight=0 available>"


STATES = {  # case: ((weight, available), ...), indexes of the takers, all unavailable
    "none": ((), (), False),
    "available": (((1, True), (2, True)), (0, 1), False),
    "one_down": (((1, True), (2, False)), (0,), False),
    "all_down": (((1, False), (2, False)), (0, 1), True),
    "weight_0": (((0, True), (1, True)), (1,), False),
    "weight_0_does_not_count_as_alive": (((0, True), (1, False)), (1,), True),
    "all_weight_0": (((0, True), (0, False)), (), False),
}


@pytest.mark.parametrize(("states", "indexes", "all_unavailable"), STATES.values(), ids=STATES)
def test_takers(states: tuple[tuple[int, bool], ...], indexes: tuple[int, ...], all_unavailable: bool) -> None:
    group = [Candidate("10.0.0.5", port, w, None, available=a) for port, (w, a) in enumerate(states)]
    assert takers_of_work(group) == (tuple(group[at] for at in indexes), all_unavailable)


def test_without() -> None:
    group = [Candidate("10.0.0.5", port, 1, None) for port in range(3)]
    assert without(group, ()) is group
    assert without(group, [group[1]]) == [group[0], group[2]]
