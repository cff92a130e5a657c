"""What an operator sees of a target that fails: when, in which words and numbers, and past a dead control process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import datetime, timedelta

import httpx
import pytest
from clb_process import COMMAND, ClbProcess
from live_proxy import rule
from prometheus_client.parser import text_string_to_metric_families
from real_server import WAIT_S, RealServer

from clb.config.rules import HealthCheck
from clb.health.windows import JITTER_RATIO, longest_wait_s, time_to_detect_s, time_to_return_s

CHECK = HealthCheck.model_validate({"interval": "300ms", "timeout": "200ms"})
SITE_CHECK = {"interval": "300ms", "timeout": "200ms"}
SLACK_S = 1.0
"""What a machine that is busy with other tests, and looking by a process of its own, may add."""
JITTER_S = 2 * CHECK.interval * JITTER_RATIO
"""Of the waits between three checks."""
ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


class Silence:
    """A real server that can be told to accept and say nothing; every connection is let go at its end."""

    def __init__(self, closing) -> None:
        self.is_silent = False
        self.server = closing.enter_context(RealServer(script=self._play))

    def _play(self, conversation) -> None:
        while True:
            self.server.record(conversation.read_request())
            if self.is_silent:
                conversation.read_to_end()
                return
            conversation.send(self.server.answer)


class Seen:
    """A node, and what it says of itself."""

    def __init__(self, clb: ClbProcess) -> None:
        self.clb = clb
        transport = httpx.HTTPTransport(uds=str(clb.file.parent / "state" / "control.sock"))
        self._client = httpx.Client(transport=transport, base_url="http://localhost", timeout=WAIT_S)

    def targets(self) -> dict[int, dict]:
        """Of the first rule, by port."""
        (listener,) = self._client.get("/v1/status").json()["listeners"]
        return {int(each["target"].rpartition(":")[2]): each for each in listener["rules"][0]["targets"]}

    def status_command(self) -> dict:
        command = [*COMMAND, "status", "--json", "--config", str(self.clb.file)]
        return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=WAIT_S).stdout)

    def metric(self, name: str, port: int) -> float:
        text = self._client.get("/metrics").text
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.labels.get("target") == f"127.0.0.1:{port}"
        ]
        assert len(found) == 1, (name, found)
        return found[0]

    def until(self, port: int, state: str) -> dict:
        """Wait for a state; also past a control process that is just begun again."""
        give_up_at = time.monotonic() + WAIT_S
        found = None
        while time.monotonic() < give_up_at:
            try:
                if (found := self.targets()[port])["state"] == state:
                    return found
            except httpx.TransportError:
                pass  # Nobody is there for the moment.
            time.sleep(0.02)
        raise AssertionError((found, self.clb.lines))

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def see(material, tmp_path, closing):
    """Start a node with two workers."""

    def begin(*ports, **keys):
        site = {"rules": [rule(*ports, health_check=SITE_CHECK, slow_start="0s", **keys)]}
        seen = Seen(closing.enter_context(ClbProcess(material, tmp_path, node={"workers": 2}, **site)))
        closing.callback(seen.close)
        return seen

    return begin


def test_a_real_server_that_falls_silent_is_out_and_back_in_time(see, closing, real_server):
    silent = Silence(closing)
    port = silent.server.port
    seen = see(port, real_server.port)
    seen.until(port, "healthy")
    seen.until(real_server.port, "healthy")
    assert (seen.metric("clb_target_state", port), seen.metric("clb_target_up", port)) == (2, 1)
    silent.is_silent, began_at = True, time.monotonic()
    found = seen.until(port, "unhealthy")
    took_s = time.monotonic() - began_at
    # The last good check may have been answered in the very moment before.
    assert took_s <= time_to_detect_s(CHECK) + longest_wait_s(CHECK) + JITTER_S + SLACK_S
    assert found["why"] == "3 probes in a row failed: no answer within 200ms"
    assert [probe["ok"] for probe in found["probes"]][-3:] == [False] * 3
    assert (seen.metric("clb_target_state", port), seen.metric("clb_target_up", port)) == (3, 0)
    _check_status(seen, port)
    silent.is_silent, began_at = False, time.monotonic()
    found = seen.until(port, "healthy")
    took_s = time.monotonic() - began_at
    # A check that is under way when it comes back still fails.
    assert took_s <= CHECK.timeout + longest_wait_s(CHECK) + time_to_return_s(CHECK) + JITTER_S + SLACK_S
    assert [probe["ok"] for probe in found["probes"]][-3:] == [True] * 3
    assert seen.metric("clb_target_up", port) == 1


def _check_status(seen, port):
    """What the command prints for programs has all that there is to know."""
    (listener,) = seen.status_command()["listeners"]
    (found,) = (one for one in listener["rules"][0]["targets"] if one["target"] == f"127.0.0.1:{port}")
    assert (found["state"], found["takes_work"], found["effective_weight"]) == ("unhealthy", False, 0)
    assert found["why"].startswith("3 probes in a row failed")
    assert found["since"]
    assert found["next_probe_at"] > found["probes"][-1]["at"]
    assert {"at", "ok", "detail", "took_ms"} == found["probes"][-1].keys()
    assert (found["detect_s"], found["return_s"]) == pytest.approx((1.2, 0.6))
    assert [one["after"] for one in found["changes"]][-2:] == ["healthy", "unhealthy"]


def test_a_killed_control_process_leaves_things_as_they_were(see, closing):
    good, bad = closing.enter_context(RealServer()), closing.enter_context(RealServer())
    seen = see(good.port, bad.port, passive={"server_errors": 2, "ejection": "60s"})
    seen.until(good.port, "healthy")
    seen.until(bad.port, "healthy")
    # Checks are answered well, requests are not.
    bad.script = _errs_unless_asked_by_a_check(bad)
    while seen.targets()[bad.port]["state"] != "ejected":
        assert {_ask(seen) for _ in range(4)} <= {200, 500}
    before = seen.targets()
    assert before[bad.port]["why"].startswith("ejected for 1m: 2 server errors in a row: answered 500")
    assert seen.metric("clb_target_ejections_total", bad.port) == 1
    assert seen.metric("clb_target_ejections_total", good.port) == 0
    assert (seen.metric("clb_target_state", bad.port), seen.metric("clb_target_up", bad.port)) == (4, 0)
    killed = seen.clb.control()
    os.kill(killed, signal.SIGKILL)
    assert {_ask(seen) for _ in range(20)} == {200}
    found = seen.until(bad.port, "ejected")
    assert {_ask(seen) for _ in range(20)} == {200}
    assert seen.clb.control() != killed
    assert (found["since"], found["ejections"]) == (before[bad.port]["since"], 1)
    ends, ended = (datetime.fromisoformat(one["ejected_until"]) for one in (found, before[bad.port]))
    assert abs(ends - ended) < timedelta(milliseconds=10)
    assert seen.targets()[good.port]["state"] == "healthy"
    # Counted while the management process lives, as docs/admin.md says.
    assert seen.metric("clb_target_ejections_total", bad.port) == 0


def test_an_upgrade_keeps_what_is_known(see, closing, real_server):
    bad = closing.enter_context(RealServer())
    seen = see(real_server.port, bad.port)
    seen.until(real_server.port, "healthy")
    seen.until(bad.port, "healthy")
    bad.answer = ERROR
    before = seen.until(bad.port, "unhealthy")
    before_upgrade = seen.clb.control()
    seen.clb.signal(signal.SIGUSR2)
    give_up_at = time.monotonic() + 2 * WAIT_S
    while seen.clb.control() == before_upgrade:
        assert _ask(seen) == 200
        assert time.monotonic() < give_up_at, seen.clb.lines
    found = seen.until(bad.port, "unhealthy")
    # The new program has the reason as well, and did not have to find out again.
    assert (found["why"], found["since"]) == (before["why"], before["since"])
    assert {_ask(seen) for _ in range(20)} == {200}


def _errs_unless_asked_by_a_check(server):
    def play(conversation):
        while True:
            head, _ = request = conversation.read_request()
            server.record(request)
            conversation.send(server.answer if b"clb-healthcheck" in head else ERROR)

    return play


def _ask(seen):
    with seen.clb.connect() as client:
        return client.ask().status
