"""The worker's clock: texts of an instant, made once for each, and a wall clock that is set meanwhile."""

from __future__ import annotations

from clb.proxy.clock import Clock


class Times:
    """Loop time and wall time, moved by hand."""

    def __init__(self) -> None:
        self.loop = 100.0
        self.wall = 1_591_692_977.774

    def clock(self) -> Clock:
        return Clock(lambda: self.loop, lambda: self.wall)


def test_stamp_has_milliseconds() -> None:
    clock = Times().clock()
    assert clock.stamp(100.0) == b"1591692977.774"
    assert clock.stamp(100.2264) == b"1591692978.000"
    assert clock.stamp(100.0) == b"1591692977.774"


def test_date_is_that_of_the_second() -> None:
    clock = Times().clock()
    assert clock.date(100.0) == b"Tue, 09 Jun 2020 08:56:17 GMT"
    assert clock.date(100.2) == b"Tue, 09 Jun 2020 08:56:17 GMT"
    assert clock.date(100.3) == b"Tue, 09 Jun 2020 08:56:18 GMT"


def test_texts_are_made_once_for_an_instant() -> None:
    clock = Times().clock()
    assert clock.stamp(100.0) is clock.stamp(100.0)
    assert clock.date(100.0) is clock.date(100.1)


def test_wall_follows_a_clock_that_is_set() -> None:
    times = Times()
    clock = times.clock()
    assert clock.wall(101.5) == times.wall + 1.5
    times.loop, times.wall = 110.0, 2_000_000_000.0
    assert clock.wall(110.0) != times.wall  # not yet looked at
    clock.synchronise()
    assert clock.wall(110.0) == 2_000_000_000.0
    assert clock.stamp(110.0) == b"2000000000.000"
    assert clock.date(110.0) == b"Wed, 18 May 2033 03:33:20 GMT"


def test_now_is_the_loop_s() -> None:
    times = Times()
    clock = times.clock()
    times.loop = 123.0
    assert clock.now() == 123.0
