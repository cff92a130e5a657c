"""The next state offered to a supervisor that the test plays: decided by a commit, made anew when stale, never torn."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from inventories import inventory, listener, shop, target

from clb.config.models import Config
from clb.control.node import SupervisorSilent
from clb.control.writer import CannotServe, NodeBusy
from clb.service.applying import Applying
from clb.service.bundle import Outline
from clb.service.outline_changes import apply_in_steps
from clb.service.row_keys import row_keys
from clb.service.steps import at_once
from clb.service.stored_models import StoredModels
from clb.store.interface import StaleRevision, StoreAway
from clb.store.inventory import Write


class Supervisor:
    """Gives out rows, has a change decided, and answers as it is told."""

    def __init__(self, node):
        self.node = node
        self.asked = []
        self.replies = []
        """What it says in place of the usual to `apply`; each once."""
        self.rows = {}

    async def request(self, what, details, files=(), decide=None):
        self.asked.append(what)
        if what == "assign":
            for key in details["rows"]:
                self.rows.setdefault(key, 1000 + len(self.rows))
            rows = {key: self.rows[key] for key in details["rows"]}
            return {"ok": True, "rows": {"node": 0, **rows}, "bases": {}}
        reply = self.replies.pop(0) if self.replies else {}
        if isinstance(reply, Exception):
            raise reply
        if reply.get("ok", True):
            try:
                await decide()
            except Exception:
                return {"ok": False, "version": self.node.outline.version, "errors": ["discarded"]}
            self.node.worker = at_once(apply_in_steps(self.node.worker, files[0]))
            self.node.version += 1
        if reply.get("late"):
            return {"ok": False, "errors": ["too late"]}
        return {"ok": True, "version": self.node.version, **{key: each for key, each in reply.items() if key != "late"}}


class Node:
    """The outline in service, here and as a worker has it."""

    def __init__(self, known):
        models = at_once(StoredModels().after(known, Config()))
        config = Config(load_balancers=models.balancers)
        rows = {"node": 0, **{key: number for number, key in enumerate(row_keys(config), 1)}}
        self.outline = Outline(1, config, {}, {}, {}, {}, rows, revision=known.revision)
        self.worker = self.outline
        self.version = 1
        self.taken = 0
        self.supervisor = Supervisor(self)
        self.applying = Applying(self.supervisor, lambda: self.outline, self.take, lambda: None)

    def take(self, outline, _):
        self.outline = outline
        self.taken += 1

    def rules(self):
        return self.outline.config.load_balancers[0].listeners[0].rules


KNOWN = inventory(*shop())
MORE = KNOWN.after(Write(entries=(target("tgt-new", "rule-1", 9100, position=9),)))


def committed(log, fault=None):
    async def commit():
        log.append("commit")
        if fault is not None:
            raise fault

    return commit


def apply(node, after=MORE, fault=None, before=KNOWN):
    log = []
    return asyncio.run(node.applying.apply(before, after, committed(log, fault))), log


def test_a_target_is_in_service_once_it_is_committed():
    node = Node(KNOWN)
    changes, log = apply(node)
    assert log == ["commit"]
    assert [(each.kind, each.where.split()[-1]) for each in changes] == [("in_place", "10.0.0.1:9100")]
    assert node.supervisor.asked == ["assign", "apply"]
    assert len(node.rules()[1].targets) == 3
    # What the worker makes of the difference is what the control process has.
    assert replace(node.worker, version=node.outline.version) == node.outline
    assert node.outline.rows["shop/http r1.example.com/ 10.0.0.1:9100"] == 1000
    # The next one goes on from there, and what is gone has no row.
    fewer = MORE.after(Write(removed=frozenset({"tgt-new"})))
    apply(node, fewer, before=MORE)
    assert len(node.rules()[1].targets) == 2
    assert "shop/http r1.example.com/ 10.0.0.1:9100" not in node.outline.rows
    assert replace(node.worker, version=node.outline.version) == node.outline


@pytest.mark.parametrize("fault", [StaleRevision("other"), StoreAway("gone")], ids=["stale", "away"])
def test_what_the_commit_raises_is_raised_and_nothing_changes(fault):
    node = Node(KNOWN)
    with pytest.raises(type(fault)):
        apply(node, fault=fault)
    assert node.taken == 0
    assert apply(node)[1] == ["commit"]
    assert node.taken == 1


def test_beside_another_version_it_is_made_anew():
    node = Node(KNOWN)
    node.supervisor.replies = [{"ok": False, "code": "stale"}, {"ok": False, "code": "stale"}]
    _, log = apply(node)
    assert log == ["commit"]
    assert node.supervisor.asked.count("apply") == 3
    node.supervisor.replies = [{"ok": False, "code": "stale"}] * 10
    fewer = MORE.after(Write(removed=frozenset({"tgt-new"})))
    with pytest.raises(NodeBusy):
        apply(node, fewer, before=MORE)


def test_workers_that_refuse_are_told_of():
    node = Node(KNOWN)
    node.supervisor.replies = [{"ok": False, "errors": ["port 80 is taken"]}]
    with pytest.raises(CannotServe, match="port 80 is taken"):
        apply(node)
    node.supervisor.replies = [{"ok": False, "code": "busy", "errors": ["the node is draining"]}]
    with pytest.raises(NodeBusy, match="draining"):
        apply(node)
    assert node.taken == 0


def test_a_silent_supervisor_before_the_commit_changes_nothing():
    node = Node(KNOWN)
    node.supervisor.replies = [SupervisorSilent("no reply")]
    with pytest.raises(NodeBusy):
        apply(node)
    assert apply(node)[1] == ["commit"]


def test_what_is_committed_is_brought_into_service_whatever_it_takes():
    node = Node(KNOWN)
    node.worker = node.outline
    node.supervisor.replies = [{"late": True}]
    _, log = apply(node)
    assert log == ["commit"]  # Once, however often it is offered.
    assert node.supervisor.asked.count("apply") == 2
    assert node.taken == 1
    assert not node.applying.is_behind


def test_what_is_nothing_to_traffic_is_committed_and_no_more():
    node = Node(KNOWN)
    renamed = replace(KNOWN, revision=9)
    assert apply(node, renamed) == ((), ["commit"])
    assert node.supervisor.asked == []


def test_a_plan_changes_nothing():
    node = Node(KNOWN)
    plan = asyncio.run(node.applying.plan(KNOWN, MORE))
    assert [each.kind for each in plan] == ["in_place"]
    with pytest.raises(CannotServe) as fault:
        asyncio.run(
            node.applying.plan(KNOWN, KNOWN.after(Write(entries=(listener("lst-x", "lb-shop", 8080, name="x"),))))
        )
    assert (fault.value.problems[0].where, fault.value.problems[0].key) == ("load balancer shop, listener x", "port")
    assert node.supervisor.asked == []


def test_files_are_closed():
    node = Node(KNOWN)
    before = len(os.listdir("/proc/self/fd"))
    apply(node)
    assert len(os.listdir("/proc/self/fd")) == before
