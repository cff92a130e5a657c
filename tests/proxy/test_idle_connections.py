"""Which idle connection is used, which is retired, and what their ends teach."""

from __future__ import annotations

import pytest

from clb.proxy.idle_connections import IdleConnections


class Idle:
    """A connection that waits; its pool is the test."""

    def __init__(self, pool, since):
        self.pool = pool
        self.idle_since = since
        self.is_usable = True
        self.is_closed = False
        self.has_news = False
        self.transport = self

    def close(self):
        self.is_closed = True
        self.is_usable = False


class Keeper:
    """The pool's part."""

    def __init__(self, most=10, timeout_s=60.0):
        self.kept = IdleConnections(most, timeout_s)
        self.forgotten = []

    def put(self, *times):
        added = [Idle(self, since) for since in times]
        for one in added:
            self.kept.shelf.append(one)
        return added

    def forget(self, upstream):
        self.forgotten.append(upstream)
        self.kept.lost(upstream, 0.0)

    def ends(self, upstream, now):
        """The real server ends one."""
        upstream.close()
        self.kept.lost(upstream, now)

    def sweep(self, now, *, has_room=True):
        self.kept.sweep(now, has_room=has_room)


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    monkeypatch.setattr("clb.proxy.idle_connections.has_something_to_read", lambda transport: transport.has_news)


def test_the_one_used_last_is_used_next():
    keeper = Keeper()
    older, newer = keeper.put(0.0, 0.1)
    assert keeper.kept.take(0.2) is newer
    assert keeper.kept.take(0.2) is older
    assert keeper.kept.take(0.2) is None


def test_one_that_ended_unnoticed_is_passed_over():
    keeper = Keeper()
    good, ended = keeper.put(0.0, 0.1)
    ended.is_usable = False
    assert keeper.kept.take(0.2) is good


def test_those_that_rest_are_looked_at_before_they_are_used():
    keeper = Keeper()
    good, with_news, ended, recent = keeper.put(0.0, 0.1, 0.2, 1.0)
    keeper.sweep(1.0)
    assert keeper.kept.recent == [recent]
    with_news.has_news = True
    ended.is_usable = False
    assert [keeper.kept.take(1.1) for _ in range(3)] == [recent, good, None]
    assert keeper.forgotten == [ended, with_news]
    assert with_news.is_closed
    assert keeper.kept.avoided == 2


def test_what_is_idle_for_too_long_is_not_used_and_closed():
    keeper = Keeper(timeout_s=5.0)
    oldest, old, young = keeper.put(0.0, 1.0, 4.0)
    keeper.sweep(4.9)
    assert keeper.kept.take(6.1) is young
    assert keeper.kept.take(6.1) is None
    assert keeper.forgotten == [oldest, old]
    assert (keeper.kept.retired, keeper.kept.avoided) == (2, 1)


def test_the_sweep_closes_what_is_idle_for_too_long():
    keeper = Keeper(timeout_s=5.0)
    old, young = keeper.put(0.0, 3.0)
    keeper.sweep(5.1)
    assert (old.is_closed, young.is_closed) == (True, False)
    assert len(keeper.kept) == 1


def test_no_more_are_kept_than_may_be():
    keeper = Keeper(most=2)
    first, second = keeper.put(0.0, 0.0)
    keeper.sweep(1.0)
    keeper.put(1.0, 1.0)
    keeper.sweep(1.1)
    assert first.is_closed
    assert second.is_closed
    assert len(keeper.kept) == 2


def test_a_short_time_out_leaves_none_without_a_look():
    keeper = Keeper(timeout_s=1.0)
    (only,) = keeper.put(0.0)
    assert keeper.kept.recent == []
    assert keeper.kept.take(0.9) is only


def test_the_end_of_an_idle_connection_is_a_lesson():
    keeper = Keeper()
    (first,) = keeper.put(0.0)
    keeper.ends(first, 1.0)
    keeper.sweep(1.2)
    assert keeper.kept.limit.learned_s == 1.0
    (second,) = keeper.put(2.0)
    assert keeper.kept.take(2.9) is None
    assert second.is_closed
    assert keeper.kept.retired == 1


def test_of_many_that_end_at_once_the_oldest_tells_most():
    keeper = Keeper()
    ends = keeper.put(0.0, 3.0, 4.0)
    for one in reversed(ends):
        keeper.ends(one, 5.0)
    keeper.sweep(5.0)
    assert keeper.kept.limit.learned_s == 5.0


def test_the_end_of_a_lent_connection_is_none():
    keeper = Keeper()
    (lent,) = keeper.put(0.0)
    keeper.kept.take(0.1)
    keeper.ends(lent, 5.0)
    keeper.sweep(5.0)
    assert keeper.kept.limit.learned_s is None


def lesson(keeper, idle_s):
    (first,) = keeper.put(0.0)
    keeper.ends(first, idle_s)
    keeper.sweep(idle_s)


def test_a_witness_confirms_the_lesson():
    keeper = Keeper()
    lesson(keeper, 4.0)
    first, second = keeper.put(10.0, 10.1)
    keeper.sweep(13.6)
    assert (first.is_closed, second.is_closed) == (False, True)
    assert keeper.kept.take(13.7) is None  # It is not used any more.
    keeper.ends(first, 13.9)
    keeper.sweep(14.0)
    assert keeper.kept.limit.learned_s == pytest.approx(3.9)


def test_a_witness_that_outlives_the_lesson_ends_it():
    keeper = Keeper()
    lesson(keeper, 4.0)
    (witness,) = keeper.put(10.0)
    keeper.sweep(13.6)
    keeper.sweep(15.9)
    assert not witness.is_closed
    keeper.sweep(16.1)
    assert witness.is_closed
    assert keeper.kept.limit.learned_s is None
    assert keeper.forgotten == [witness]


@pytest.mark.parametrize("announced", [True, False])
def test_no_witness_is_kept_where_there_is_no_room_or_nothing_to_learn(announced):
    keeper = Keeper()
    if announced:
        keeper.kept.limit.announced(4)
    else:
        lesson(keeper, 4.0)
    (only,) = keeper.put(10.0)
    keeper.sweep(13.6, has_room=announced)
    assert only.is_closed


def test_a_witness_makes_room():
    keeper = Keeper()
    assert not keeper.kept.give_up_witness()
    lesson(keeper, 4.0)
    (witness,) = keeper.put(10.0)
    keeper.sweep(13.6)
    assert keeper.kept.give_up_witness()
    assert witness.is_closed
    assert keeper.forgotten == [witness]


def test_other_bounds_hold_at_once():
    keeper = Keeper()
    connections = keeper.put(0.0, 0.1, 0.2)
    keeper.kept.configure(1, 30.0)
    assert [one.is_closed for one in connections] == [True, True, False]
    assert keeper.kept.limit.limit_s == 30.0
    keeper.kept.configure(0, 30.0)
    assert connections[2].is_closed
    assert len(keeper.kept) == 0


def test_a_removed_target_keeps_no_witness_either():
    keeper = Keeper()
    lesson(keeper, 4.0)
    (witness,) = keeper.put(10.0)
    keeper.sweep(13.6)
    keeper.kept.configure(0, 60.0)
    assert witness.is_closed


def test_clear():
    keeper = Keeper()
    keeper.put(0.0, 0.1)
    keeper.sweep(0.55)
    keeper.kept.clear()
    assert len(keeper.kept) == 0
