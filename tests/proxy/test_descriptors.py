"""How many clients a process may have with the descriptors that it may open."""

from __future__ import annotations

import os
import resource

import pytest

from clb.proxy.descriptors import RECOUNT_S, Descriptors, count_open


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 4000))


ACCOUNTS = {  # case: (connections, to real servers, open in all, most connections of clients)
    "fresh": (0, 0, 20, 1000 - 20 - 200),
    "real_servers_live_on_the_reserve": (100, 150, 270, 1000 - 20 - 150 - 50),
    "and_a_quarter_stays_free": (100, 300, 420, 1000 - 20 - 300 - 50),
    "never_none": (0, 2000, 2000, 1),
    "some_are_closed_but_not_gone": (100, 10, 90, 1000 - 1 - 10 - 190),
}


@pytest.mark.parametrize(("connections", "upstream", "in_all", "most"), ACCOUNTS.values(), ids=ACCOUNTS)
def test_accounts(connections: int, upstream: int, in_all: int, most: int) -> None:
    descriptors = Descriptors(0.2, lambda: in_all)
    descriptors.look(0.0, connections, upstream)
    assert descriptors.most_connections == most


def test_all_are_counted_now_and_then_only() -> None:
    counts = []
    descriptors = Descriptors(0.2, lambda: len(counts.append(0) or counts))
    for now in (0.0, RECOUNT_S / 2, RECOUNT_S, RECOUNT_S + 1):
        descriptors.look(now, 0, 0)
    assert len(counts) == 3  # The first before there is a sweep.


def test_counting_fails_when_there_is_none_left() -> None:
    """Then the last figure holds, and it is tried again at the next sweep."""
    answers = iter([20, None, 30])

    def count() -> int:
        answer = next(answers)
        if answer is None:
            raise OSError("too many open files")
        return answer

    descriptors = Descriptors(0.2, count)
    found = []
    for now in (0.0, 0.5):
        descriptors.look(now, 0, 0)
        found.append(descriptors.most_connections)
    assert found == [780, 770]


def test_another_reserve() -> None:
    descriptors = Descriptors(0.0, lambda: 1)
    assert descriptors.most_connections == 991  # Never none at all.
    descriptors.configure(0.5)
    descriptors.look(1.0, 0, 0)
    assert descriptors.most_connections == 499


def test_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    descriptors = Descriptors(0.2, lambda: 20)
    descriptors.look(0.0, 0, 0)
    assert descriptors.most_connections > 1_000_000


def test_counting_what_is_open() -> None:
    before = count_open()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert count_open() == before + 1
    finally:
        os.close(descriptor)
