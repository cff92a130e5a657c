"""The history of events: bounded, numbered, and fit to be shown."""

from __future__ import annotations

from clb.control.events import LONGEST_TEXT, EventHistory


def test_the_oldest_make_room():
    history = EventHistory(lambda: 1.0, size=3)
    for number in range(5):
        history.add("kind", str(number))
    assert [event.cause for event in history.after(0, 10)] == ["2", "3", "4"]
    assert [event.number for event in history.after(0, 2)] == [4, 5]
    assert history.last_number == 5


def test_a_message_of_another_process():
    history = EventHistory(lambda: 1.0)
    message = {"type": "event", "kind": "worker_died", "cause": "signal 9", "subject": "worker-0", "at": 7, "pid": 4}
    event = history.add_message(message)
    assert (event.kind, event.cause, event.subject, event.at) == ("worker_died", "signal 9", "worker-0", 7.0)
    assert event.details == {"pid": 4}
    empty = history.add_message({"at": "late"})
    assert (empty.kind, empty.at) == ("unknown", 1.0)


def test_what_is_odd_or_long_is_made_short_and_plain():
    history = EventHistory(lambda: 1.0)
    event = history.add("kind", "x" * 2000, "a\x1b[31mb\n", deep={"a": [1]}, words=["a", "b\r"], many=list("x" * 99))
    assert len(event.cause) == LONGEST_TEXT
    assert event.subject == "a [31mb "
    assert event.details == {"deep": '{"a": [1]}', "words": ["a", "b "], "many": event.details["many"]}
    assert isinstance(event.details["many"], str)
    many = history.add("kind", "c", **{f"d{number}": number for number in range(50)})
    assert len(many.details) == 20
