"""The supervisor's loop: descriptors, timers, channels."""

from __future__ import annotations

import os

import pytest

from clb.service.channel import Channel
from clb.service.reactor import MESSAGES_AT_A_TIME, Link, Reactor


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reactor(clock):
    made = Reactor(clock)
    yield made
    made.close()


def turn(reactor, times=1):
    for _ in range(times):
        reactor.turn(0.0)


def test_timers_fire_in_order_and_once(reactor, clock):
    fired = []
    for seconds in (2.0, 1.0, 1.0, 3.0):
        reactor.after(seconds, lambda seconds=seconds: fired.append(seconds))
    turn(reactor)
    assert fired == []
    clock.now += 2.0
    turn(reactor, 3)
    assert fired == [1.0, 1.0, 2.0]


def test_a_timer_that_is_cancelled_does_not_fire(reactor, clock):
    fired = []
    first = reactor.after(1.0, lambda: (fired.append(1), second.cancel()))
    second = reactor.after(1.0, lambda: fired.append(2))
    clock.now += 1.0
    turn(reactor)
    first.fire()
    assert fired == [1]


def test_a_timer_of_a_timer_gets_its_turn(reactor, clock):
    fired = []
    reactor.after(0.0, lambda: reactor.after(0.0, lambda: fired.append(1)))
    turn(reactor, 2)
    assert fired == [1]


def test_a_watch_that_another_one_ends_is_not_called(reactor):
    pipes = [os.pipe() for _ in range(2)]
    called = []

    def end_all(number):
        called.append(number)
        for reader, _ in pipes:
            reactor.forget(reader)

    for number, (reader, writer) in enumerate(pipes):
        reactor.watch(reader, lambda number=number: end_all(number))
        os.write(writer, b"x")
    turn(reactor, 2)
    assert len(called) == 1
    for descriptors in pipes:
        for descriptor in descriptors:
            os.close(descriptor)


def test_a_fault_of_a_callback_goes_to_the_caller_or_to_who_wants_it(reactor):
    reader, writer = os.pipe()
    os.write(writer, b"x")
    faults = []
    reactor.after(0.0, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        turn(reactor)
    reactor.on_fault = faults.append
    reactor.after(0.0, lambda: 1 // 0)
    reactor.watch(reader, lambda: (reactor.forget(reader), {}["x"]))
    turn(reactor, 2)
    assert [type(fault) for fault in faults] == [KeyError, ZeroDivisionError]
    os.close(reader)
    os.close(writer)


# --- links ---


class Side:
    """One end of a channel on a reactor; the other is the test's."""

    def __init__(self, reactor):
        self.heard = []
        self.ends = 0
        ours, self.other = Channel.pair()
        self.link = Link(ours, reactor, lambda message, files: self.heard.append(message), self._closed)

    def _closed(self):
        self.ends += 1


@pytest.fixture
def side(reactor):
    made = Side(reactor)
    yield made
    made.link.close()
    made.other.close()


def test_messages_go_both_ways(reactor, side):
    side.other.send({"type": "a"})
    side.link.send({"type": "b"})
    turn(reactor)
    assert side.heard == [{"type": "a"}]
    assert side.other.receive() == ({"type": "b"}, [])


def test_one_channel_does_not_keep_the_others_waiting(reactor, side):
    for _ in range(MESSAGES_AT_A_TIME + 5):
        side.other.send({"type": "a"})
    turn(reactor)
    assert len(side.heard) == MESSAGES_AT_A_TIME
    turn(reactor)
    assert len(side.heard) == MESSAGES_AT_A_TIME + 5


def test_what_does_not_go_at_once_goes_later(reactor, side):
    for number in range(2000):
        side.link.send({"type": "n", "number": number, "filling": "x" * 1000})
    assert side.link.channel.unsent
    received = []
    while len(received) < 2000:
        while (message := side.other.receive()) is not None:
            received.append(message[0]["number"])
        turn(reactor)
    assert received == list(range(2000))
    assert not side.link.channel.unsent


def test_the_end_is_told_once_and_after_the_last_words(reactor, side):
    side.other.send({"type": "last"})
    side.other.close()
    turn(reactor, 3)
    assert (side.heard, side.ends) == ([{"type": "last"}], 1)
    assert not side.link.is_open
    side.link.send({"type": "into the void"})
    turn(reactor)
    assert side.ends == 1


def test_sending_to_one_that_is_gone_still_hears_its_last_words(reactor, side):
    side.other.send({"type": "last"})
    side.other.close()
    side.link.send({"type": "a"})
    assert side.heard == []  # Nothing happens in the middle of what the caller does.
    turn(reactor, 3)
    assert (side.heard, side.ends) == ([{"type": "last"}], 1)


def test_what_a_dead_process_left_can_be_read_at_once(side):
    side.other.send({"type": "a"})
    side.other.send({"type": "b"})
    side.link.read_rest()
    assert side.heard == [{"type": "a"}, {"type": "b"}]


def test_an_end_from_this_side_is_not_told(reactor, side):
    side.link.close()
    side.link.close()
    turn(reactor, 2)
    assert side.ends == 0
