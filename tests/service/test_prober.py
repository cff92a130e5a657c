"""The prober: when it asks, what it makes of answers, whom it tells, and what outlives it."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from health_lab import FAST, RULE, Node, rule
from real_server import OK, RealServer

from clb.config.rules import HealthCheck
from clb.health.windows import longest_wait_s, time_to_detect_s, time_to_return_s
from clb.metering.cells import TargetField, target_key
from clb.service import prober as prober_module
from clb.service.probe import Answer, Checker, Question

SLACK_S = 0.4
"""A machine that is busy with other tests is late; seconds would be a defect."""


# --- states ---


def test_a_node_that_starts_serves_at_once_and_proves_its_targets():
    async def script(node):
        assert node.state(1) == node.state(2) == "provisional"
        await node.until_state(1, "healthy")
        assert node.notices

    Node(rule(1, 2)).play(script)


def test_a_dead_target_is_out_with_its_first_check_at_the_start():
    async def script(node):
        await node.until_state(1, "unhealthy")
        assert len([one for one in node.answers.asked if one.port == 1]) == 1
        assert node.report(1).why == "a probe failed before it was proved: connection failed: connection refused"

    node = Node(rule(1, 2))
    node.answers.bad(1)
    node.play(script)


def test_a_target_that_is_added_waits_in_checking():
    async def script(node):
        await node.until_state(1, "healthy")
        node.configure(rule(1, 2))
        assert node.state(2) == "checking"
        await node.until_state(2, "healthy")
        assert [event.details["after"] for event in node.told("target_health") if ":2" in event.subject] == [
            "checking",
            "healthy",
        ]

    Node(rule(1)).play(script)


def test_weight_0_is_checked_too():
    async def script(node):
        await node.until_state(2, "healthy")
        node.answers.bad(2)
        await node.until_state(2, "unhealthy")

    Node(rule(1, 2, weights={2: 0})).play(script)


def test_checks_that_are_off_are_not_made():
    async def script(node):
        await asyncio.sleep(0.3)
        assert (node.state(1), node.answers.asked) == ("unchecked", [])
        assert node.report(1).detect_s is None

    Node(rule(1, health_check={"enabled": False})).play(script)


def test_thresholds_change_without_another_beginning():
    async def script(node):
        await node.until_state(1, "healthy")
        since = node.number(1, TargetField.SINCE_MS)
        node.configure(rule(1, health_check={"unhealthy": 1}))
        assert (node.state(1), node.number(1, TargetField.SINCE_MS)) == ("healthy", since)
        node.answers.bad(1)
        await node.until_state(1, "unhealthy")
        assert node.report(1).why.startswith("a probe failed:")

    Node(rule(1, health_check={"unhealthy": 10})).play(script)


def test_a_removed_target_is_forgotten_and_asked_no_more():
    async def script(node):
        await node.until_state(2, "healthy")
        node.configure(rule(1))
        asked = [one.port for one in node.answers.asked].count(2)
        assert node.report(2) is None
        node.configure(rule(1, 2))
        node.configure(rule(1))
        row = node.rows.assign([f"{RULE} 127.0.0.1:2"])[f"{RULE} 127.0.0.1:2"]
        assert list(node.cells.columns[0][row * 8 : row * 8 + 8]) == [0] * 8
        await asyncio.sleep(0.3)
        assert [one.port for one in node.answers.asked].count(2) <= asked + 1

    Node(rule(1, 2)).play(script)


# --- the formulas ---


def stays(conversation) -> None:
    conversation.read_to_end()


def resets(conversation) -> None:
    conversation.read_head()
    conversation.reset()


def answers(data: bytes):
    def play(conversation) -> None:
        conversation.read_head()
        conversation.send(data)

    return play


def drips(conversation) -> None:
    conversation.read_head()
    while True:
        conversation.send(b"H")
        time.sleep(0.03)


BAD_SERVERS = {  # case: (what it begins to do, whether each failed check takes its time-out)
    "hangs": (stays, True),
    "resets": (resets, False),
    "answers_garbage": (answers(b"\x16\x03\x01\x02\r\n\r\n"), False),
    "drips": (drips, True),
    "errs": (answers(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), False),
}


def test_the_time_to_detect_and_to_return_is_that_of_the_formula(capsys):
    """Real servers that go bad at the same moment and get well again, all by one prober, with real checks."""
    keys = {**FAST, "interval": "200ms", "timeout": "150ms"}
    settings = HealthCheck.model_validate(keys)
    servers = {name: RealServer(OK) for name in BAD_SERVERS}
    good = {name: server.script for name, server in servers.items()}
    ports = {name: server.port for name, server in servers.items()}
    figures = []

    async def script(node):
        await asyncio.gather(*(node.until_state(port, "healthy") for port in ports.values()))
        for name, server in servers.items():
            server.script = BAD_SERVERS[name][0]
        took = await asyncio.gather(*(node.until_state(port, "unhealthy") for port in ports.values()))
        for (name, (_, takes_timeout)), seconds in zip(BAD_SERVERS.items(), took, strict=True):
            formula = time_to_detect_s(settings, None if takes_timeout else 0.0)
            figures.append(
                f"{name}: out after {seconds:.2f} s, formula {formula:.2f} s + {longest_wait_s(settings):.2f} s"
            )
            assert 0.9 * formula - settings.timeout <= seconds, figures[-1]
            assert seconds <= formula + longest_wait_s(settings) + SLACK_S, figures[-1]
        for name, server in servers.items():
            server.script = good[name]
        took = await asyncio.gather(*(node.until_state(port, "healthy") for port in ports.values()))
        for name, seconds in zip(ports, took, strict=True):
            formula = time_to_return_s(settings)
            figures.append(f"{name}: back after {seconds:.2f} s, formula {formula:.2f} s")
            assert seconds <= formula + longest_wait_s(settings) + settings.timeout + SLACK_S, figures[-1]

    node = Node(rule(*ports.values(), health_check=keys))
    node.answers = Checker()
    try:
        node.play(script)
    finally:
        asyncio.run(node.answers.close())
        for server in servers.values():
            server.__exit__()
    with capsys.disabled():
        print("\n" + "\n".join(figures))


def test_the_formula_is_in_the_report():
    async def script(node):
        report = node.report(1)
        assert report.detect_s == pytest.approx(2 * 0.05 + 0.1)
        assert report.return_s == pytest.approx(0.1)

    Node(rule(1)).play(script)


# --- what is asked, and when ---


def test_rules_share_what_they_ask_alike():
    async def script(node):
        await node.until_state(1, "healthy")
        await node.until_state(1, "healthy", other)
        assert len(node.answers.asked) <= 4
        hosts = {one.host for one in node.answers.asked}
        assert hosts == {"app.example.com"}

    other = "lb/http b.example.com/"
    keys = {"host": "app.example.com", "healthy": 2}
    Node(rule(1, health_check=keys), rule(1, domain="b.example.com", health_check={**keys, "healthy": 3})).play(script)


HOSTS = {  # case: (domain, host key, what is sent)
    "the_rule's_domain": ("b.example.com", None, "b.example.com"),
    "as_configured": ("b.example.com", "c.example.com", "c.example.com"),
    "a_wildcard_s_address": ("*.example.com", None, "127.0.0.1:7"),
    "a_trailing_wildcard_s_address": ("www.example.*", None, "127.0.0.1:7"),
    "an_expression_s_address": ("~^b", None, "127.0.0.1:7"),
}


@pytest.mark.parametrize(("domain", "host", "expected"), HOSTS.values(), ids=HOSTS)
def test_the_host_that_is_asked_for(domain, host, expected):
    async def script(node):
        await node.until(lambda: any(one.port == 7 for one in node.answers.asked))
        assert {one.host for one in node.answers.asked if one.port == 7} == {expected}

    check = {"host": host} if host else {}
    Node(rule(1), rule(7, domain=domain, health_check=check)).play(script)


def test_tcp_checks_have_no_host():
    async def script(node):
        await node.until_state(1, "healthy")
        assert {one.host for one in node.answers.asked} == {""}

    Node(rule(1, health_check={"type": "tcp"})).play(script)


def test_many_first_checks_are_spread_out(monkeypatch):
    monkeypatch.setattr(prober_module, "STARTS_PER_S", 100.0)

    async def script(node):
        seconds = await node.until(lambda: len({one.port for one in node.answers.asked}) == 60)
        assert 0.2 < seconds < 2
        assert node.notices < 60  # Workers are not told of each one.

    Node(rule(*range(1, 61), health_check={"interval": "60s", "timeout": "1s", "healthy": 1})).play(script)


def test_real_servers_that_hang_hold_up_nobody(monkeypatch):
    monkeypatch.setattr(prober_module, "FEWEST_PLACES", 4)
    monkeypatch.setattr(prober_module, "MOST_PLACES", 4)

    async def hang() -> Answer:
        await asyncio.sleep(0.05)
        return Answer(False, "no answer within 50ms", 0.05)

    async def script(node):
        await node.until(lambda: all(node.state(port) == "unhealthy" for port in range(2, 40)))
        began = len([one for one in node.answers.asked if one.port == 1])
        await asyncio.sleep(1.0)
        # Due every 0.1 s; the others, were they equal, would leave it one check in 38 x 0.05 / 4 = 0.48 s.
        assert len([one for one in node.answers.asked if one.port == 1]) - began >= 6

    node = Node(rule(*range(1, 40)))
    for port in range(2, 40):
        node.answers.by_port[port] = hang
    node.play(script)


def test_places_are_for_all_to_hang_at_once_within_bounds():
    def needed(count: int) -> int:
        check = HealthCheck()
        return prober_module._places_for([Question("10.0.0.1", port, "a", check) for port in range(count)])

    assert needed(0) == prober_module.FEWEST_PLACES
    assert needed(1000) == 358
    assert needed(100_000) <= prober_module.MOST_PLACES


# --- faults that are not the real server's ---


def test_what_this_machine_could_not_ask_counts_for_nothing():
    async def script(node):
        await node.until_state(1, "healthy")
        node.answers.by_port[1] = Answer(False, "not made: too many open files", 0.001, is_own_fault=True)
        asked = len(node.answers.asked)
        await node.until(lambda: len(node.answers.asked) >= asked + 3)
        assert node.state(1) == "healthy"
        node.answers.good(1)
        await node.until(lambda: node.report(1).probes[-1].ok)
        assert [probe.detail for probe in node.report(1).probes if not probe.ok] != []
        assert node.state(1) == "healthy"

    Node(rule(1)).play(script)


def test_own_faults_count_when_they_do_not_end():
    async def script(node):
        await node.until_state(1, "healthy")
        node.answers.by_port[1] = Answer(False, "no answer within 50ms", 0.1, is_own_fault=True)
        await node.until_state(1, "unhealthy")

    Node(rule(1)).play(script)


def test_a_defect_in_one_check_is_told_and_checks_go_on(caplog):
    async def script(node):
        await node.until(lambda: len(node.answers.asked) >= 2)
        node.answers.good(1)
        await node.until_state(1, "healthy")

    node = Node(rule(1))
    node.answers.by_port[1] = RuntimeError("defect")
    with caplog.at_level(logging.ERROR):
        node.play(script)
    assert "a check failed" in caplog.text


# --- what real requests tell ---


def test_an_ejection_and_its_end_reach_the_workers():
    async def script(node):
        await node.until(lambda: node.state(1) == node.state(2) == "healthy")
        await asyncio.sleep(0.1)
        notices = node.notices
        node.suspect(1)
        assert node.state(1) == "ejected"
        report = node.report(1)
        assert report.why == "ejected for 200ms: 5 connect failures in a row: reset"
        assert report.ejections == node.number(1, TargetField.EJECTIONS) == 1
        assert 0 < report.ejected_until - node.wall() <= 0.2
        assert node.number(1, TargetField.UNTIL_MS) == pytest.approx(report.ejected_until * 1000, abs=2)
        await node.until(lambda: node.notices > notices)
        await node.until_state(1, "healthy")
        assert node.report(1).ejected_until is None
        assert [change.cause for change in node.report(1).changes][-1] == "its ejection is over"

    Node(rule(1, 2, passive={"ejection": "200ms"})).play(script)


def test_ejections_are_counted_and_what_only_looks_like_one_is_not():
    key = target_key(RULE, "127.0.0.1:1")

    async def eject(node):
        await node.until(lambda: node.state(1) == node.state(2) == "healthy")
        node.suspect(1)
        node.suspect(1)  # The other worker has seen it as well.
        assert node.ejections == {key: 1}
        node.answers.bad(1)
        await node.until_state(1, "unhealthy")
        node.answers.good(1)
        await node.until_state(1, "ejected")
        assert node.ejections == {key: 1}

    async def see(node):
        assert node.state(1) == "ejected"
        assert not node.ejections

    one = Node(rule(1, 2, passive={"ejection": "60s"})).play(eject)
    Node(rule(1, 2, passive={"ejection": "60s"}), cells=one.cells, rows=one.rows).play(see)


def test_why_a_target_is_not_ejected_is_told():
    async def script(node):
        await node.until_state(1, "healthy")
        node.suspect(1)
        assert node.state(1) == "healthy"
        assert "; not ejected: no other target takes work" in node.report(1).why

    Node(rule(1)).play(script)


NONSENSE = {
    "no_such_rule": {"rule": "lb/http other.example.com/"},
    "no_such_target": {"target": "10.9.9.9:1"},
    "no_such_failure": {"failure": "boredom"},
    "failure_of_another_kind": {"failure": ["connect_failures"]},
    "no_count": {"count": "many"},
    "count_of_nothing": {"count": 0},
    "count_beyond_reason": {"count": 10**12},
    "nothing": {"rule": None, "target": None, "failure": None, "count": None},
}


@pytest.mark.parametrize("keys", NONSENSE.values(), ids=NONSENSE)
def test_what_is_not_understood_is_dropped(keys):
    async def script(node):
        await node.until(lambda: node.state(1) == node.state(2) == "healthy")
        node.suspect(1, **keys)
        assert node.state(1) == "healthy"

    Node(rule(1, 2)).play(script)


# --- all out ---


@pytest.mark.parametrize(("all_dead", "words"), [("serve", "all get traffic"), ("refuse", "requests are answered 503")])
def test_all_out_is_told_once_and_so_is_its_end(all_dead, words):
    async def script(node):
        await node.until(lambda: node.state(1) == node.state(2) == "unhealthy")
        node.answers.good(1)
        await node.until_state(1, "healthy")
        out, back = node.told("rule_health")
        assert (out.subject, out.cause) == (RULE, f"every target of the rule is out: {words}")
        assert (out.details["all_out"], back.details["all_out"]) == (True, False)

    node = Node(rule(1, 2, all_dead=all_dead))
    node.answers.bad(1, 2)
    node.play(script)


# --- what outlives what ---


def test_a_new_control_process_goes_on_where_the_old_one_ended():
    async def first(node):
        await node.until(lambda: node.state(1) == node.state(2) == "healthy" and node.state(3) == "unhealthy")
        node.suspect(1)

    async def second(node):
        assert [node.state(port) for port in (1, 2, 3)] == ["ejected", "healthy", "unhealthy"]
        assert node.number(2, TargetField.SINCE_MS) == pytest.approx(since, abs=2)
        assert node.number(1, TargetField.EJECTIONS) == 1
        assert node.report(3).why == "restored"

    old = Node(rule(1, 2, 3))
    old.answers.bad(3)
    old.play(first)
    since = old.number(2, TargetField.SINCE_MS)
    new = Node(rule(1, 2, 3), cells=old.cells, rows=old.rows)
    new.answers.bad(3)
    new.play(second)


def test_a_new_node_goes_on_where_the_old_one_ended_if_that_was_lately(tmp_path):
    async def first(node):
        await node.until(lambda: node.state(1) == node.state(2) == "healthy" and node.state(3) == "unhealthy")
        node.suspect(1)

    async def second(node):
        assert [node.state(port) for port in (1, 2, 3)] == ["ejected", "healthy", "unhealthy"]
        assert node.report(1).ejections == 1
        assert node.report(3).why.startswith("a probe failed before it was proved")

    async def third(node):
        assert [node.state(port) for port in (1, 2, 3)] == ["provisional"] * 3

    for play, shift_s in ((first, 0.0), (second, 0.0), (third, 1000.0)):
        node = Node(rule(1, 2, 3)).remember_in(tmp_path)
        node.shift_s = shift_s
        node.answers.bad(3)
        node.play(play)


def test_the_cells_know_better_than_the_file_and_the_file_knows_why(tmp_path):
    async def first(node):
        await node.until_state(1, "unhealthy")

    async def second(node):
        assert node.state(1) == "unhealthy"
        assert node.report(1).why.startswith("a probe failed before it was proved")

    old = Node(rule(1, 2)).remember_in(tmp_path)
    old.answers.bad(1)
    old.play(first)
    new = Node(rule(1, 2), cells=old.cells, rows=old.rows).remember_in(tmp_path)
    new.answers.bad(1)
    new.play(second)


def test_the_file_is_written_when_something_changed_and_touched_while_nothing_does(tmp_path):
    async def script(node):
        await node.until_state(1, "healthy")
        node.shift_s += 2
        await node.until(lambda: (tmp_path / "health.json").exists())
        written = (tmp_path / "health.json").stat()
        await asyncio.sleep(0.3)
        assert (tmp_path / "health.json").stat().st_ino == written.st_ino
        node.shift_s += 20
        await node.until(lambda: (tmp_path / "health.json").stat().st_mtime_ns > written.st_mtime_ns)
        assert (tmp_path / "health.json").stat().st_ino == written.st_ino

    Node(rule(1)).remember_in(tmp_path).play(script)


def test_a_clock_that_is_set_ends_no_ejection():
    async def script(node):
        await node.until(lambda: node.state(1) == node.state(2) == "healthy")
        node.suspect(1)
        node.events._wall = node.prober._clocks.wall = lambda: time.time() + 86400
        await asyncio.sleep(0.6)
        assert node.state(1) == "ejected"

    Node(rule(1, 2)).play(script)


# --- reports ---


def test_the_last_checks_and_the_next_one_are_in_the_report():
    async def script(node):
        await node.until(lambda: len(node.answers.asked) > 12)
        report = node.report(1)
        assert len(report.probes) == 10
        assert all(probe.ok and probe.detail == "answered 200" for probe in report.probes)
        assert report.next_probe_at == pytest.approx(node.wall(), abs=0.3)
        assert report.effective_weight is None
        assert node.prober.report("nonsense") is None

    Node(rule(1)).play(script)


def test_slow_start_is_in_the_report():
    async def script(node):
        await node.until_state(1, "healthy")
        assert node.report(1).effective_weight is None  # It was there from the start.
        node.shift_s += 60
        node.configure(rule(1, 2, slow_start="10s"))
        assert node.report(2).effective_weight is None  # It takes no work yet.
        await node.until_state(2, "healthy")
        assert node.report(2).effective_weight == 1
        node.shift_s += 5
        assert node.report(2).effective_weight == 6
        node.shift_s += 5
        assert node.report(2).effective_weight is None

    Node(rule(1, slow_start="10s")).play(script)


def test_a_hash_has_no_slow_start():
    async def script(node):
        await node.until_state(1, "healthy")
        node.shift_s += 60
        node.configure(rule(1, 2, scheduler="maglev"))
        await node.until_state(2, "healthy")
        assert node.report(2).effective_weight is None

    Node(rule(1, scheduler="maglev")).play(script)


def test_names_that_are_gone_are_let_go():
    async def script(node):
        assert node.answers.hosts == {"127.0.0.1"}

    Node(rule(1)).play(script)


def test_it_may_end_before_it_began():
    async def script() -> None:
        node = Node(rule(1))
        node.prober = prober_module.Prober(node.cells, node.answers, node.events, lambda _: None, node.wall)
        node.configure(rule(1))
        await node.prober.stop()
        assert node.answers.asked == []

    asyncio.run(script())
