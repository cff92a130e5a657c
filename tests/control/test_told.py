"""What the supervisor tells of, in an operator's words."""

from __future__ import annotations

import pytest

from clb.control.told import take_event

EVENTS = {
    "killed": ({"kind": "worker_died", "slot": 0, "worker": 7, "signal": "SIGKILL"}, "worker-0", "ended by SIGKILL"),
    "failed": ({"kind": "worker_died", "slot": 1, "exit_status": 70}, "worker-1", "ended with status 70"),
    "started": ({"kind": "worker_started", "slot": 0, "worker": 8}, "worker-0", "it serves"),
    "stopping": ({"kind": "stopping", "quickly": False}, "", "the service was told to end"),
    "own_words": ({"kind": "health", "subject": "a target", "cause": "because"}, "a target", "because"),
    "unknown": ({"kind": "odd"}, "", ""),
}


@pytest.mark.parametrize(("event", "subject", "cause"), EVENTS.values(), ids=EVENTS)
def test_words(lab, event, subject, cause):
    take_event(lab.node, event)
    (told,) = lab.node.events.after(0, 10)
    assert (told.kind, told.subject, told.cause) == (event["kind"], subject, cause)


def test_deaths_are_counted(lab):
    for kind in ("worker_died", "worker_started", "worker_died"):
        take_event(lab.node, {"kind": kind, "slot": 0})
    assert lab.node.restarts == 2


def test_reloads(lab):
    take_event(lab.node, {"kind": "reloaded", "version": 2, "changes": 1, "cause": "SIGHUP"})
    assert lab.node.last_reload.summary == "1 change"
    take_event(lab.node, {"kind": "reload_refused", "version": 2, "errors": ["clb.yaml:1:1: a", "clb.yaml:2:1: b"]})
    last = lab.node.last_reload
    assert (last.ok, last.version, last.errors) == (False, 2, ("clb.yaml:1:1: a", "clb.yaml:2:1: b"))
    assert lab.node.reloads == {True: 1, False: 1}
    assert [event.cause for event in lab.node.events.after(0, 10)] == [
        "1 change, by SIGHUP",
        "refused, what was in service stays",
    ]
