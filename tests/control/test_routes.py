"""Each route's answers, over the app as on the control socket."""

from __future__ import annotations

import pytest
from control_lab import NOW, SHOP, WORKERS, Lab, outline

from clb.control.node import HealthReport, Probe, Reload
from clb.control.totals import Latency, ListenerTotals, RuleTotals, TargetTotals
from clb.metering.cells import ListenerField, TargetField, TargetState, target_key
from clb.metering.counters import Traffic


def test_healthz_and_readyz(lab):
    assert lab.get("/healthz") == {"status": "ok"}
    assert lab.get("/readyz") == {"ready": True, "reasons": [], "notes": []}


def drain(lab: Lab) -> None:
    lab.node.take_processes({"processes": [WORKERS[2]], "draining": True})


def stop_workers(lab: Lab) -> None:
    lab.node.take_processes({"processes": [{"role": "worker", "slot": 0, "pid": 1, "state": "starting"}]})


def fall_silent(lab: Lab) -> None:
    lab.now += 6


NOT_READY = {
    "draining": (drain, "the node is draining"),
    "no_worker": (stop_workers, "no worker is ready"),
    "silence": (fall_silent, "the supervisor has not answered for a while"),
}


@pytest.mark.parametrize(("change", "reason"), NOT_READY.values(), ids=NOT_READY)
def test_not_ready(lab, change, reason):
    change(lab)
    response = lab.request("GET", "/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "reasons": [reason], "notes": []}


# --- status ---


def test_status_of_the_node_and_its_processes(lab):
    lab.node.last_reload = Reload(NOW - 10, False, 1, "refused", ("clb.yaml:1:1: wrong",))
    status = lab.get("/v1/status")
    node = status["node"]
    assert (node["name"], node["config_version"], node["ready"]) == ("node-1", 1, True)
    assert (node["workers_ready"], node["workers_wanted"]) == (1, 2)
    assert [(p["role"], p["slot"], p["state"]) for p in status["processes"]] == [
        ("supervisor", None, "serving"),
        ("worker", 0, "ready"),
        ("worker", 1, "starting"),
        ("worker", 0, "draining"),
    ]
    assert status["processes"][1]["loop_lag_ms"] == 0.5
    assert status["last_reload"]["errors"] == ["clb.yaml:1:1: wrong"]
    assert status["last_reload"]["ok"] is False


def test_status_of_certificates(lab):
    web, wild = lab.get("/v1/status")["certificates"]
    assert (web["name"], web["seconds_left"], web["listeners"]) == ("web", 30 * 86400, ["shop/https"])
    assert wild["names"] == ["*.example.com", "127.0.0.1"]


def test_status_of_a_listener_and_its_targets(lab):
    lab.set_cell("shop/https", ListenerField.CONNECTIONS, 2, column=1)
    lab.set_cell("shop/https", ListenerField.CONNECTIONS, 3, column=2)
    first = target_key(SHOP, "10.0.0.1:80")
    lab.set_state(first, TargetState.UNHEALTHY)
    lab.set_cell(first, TargetField.IN_FLIGHT, 4)
    lab.set_cell(first, TargetField.LATENCY_US, 1500)
    lab.set_cell(first, TargetField.LATENCY_US, 500, column=2)
    lab.totals.listeners["shop/https"] = ListenerTotals(connections=9, requests={"2xx": 5, "5xx": 1}, refused={"a": 1})
    lab.totals.rules[SHOP] = RuleTotals({"2xx": 6}, 10, 20)
    lab.totals.targets[first] = TargetTotals({"2xx": 3}, latency=Latency(3, 0.25))

    class Reports:
        def report(self, target: str) -> HealthReport | None:
            if target != first:
                return None
            return HealthReport("3 probes failed", NOW + 2, (Probe(NOW - 1, False, "refused", 0.002),), 2.5)

    lab.node.health = Reports()
    listener = lab.get("/v1/status")["listeners"][0]
    assert (listener["connections"], listener["accepted"], listener["requests"]) == (5, 9, 6)
    rule = listener["rules"][0]
    assert (rule["requests"], rule["in_bytes"], rule["out_bytes"]) == (6, 10, 20)
    assert rule["mean_latency_ms"] == pytest.approx(83.333)
    down, up, parked = rule["targets"]
    assert (down["state"], down["takes_work"], down["why"]) == ("unhealthy", False, "3 probes failed")
    assert (down["in_flight"], down["latency_ms"], down["requests"]) == (4, 1.0, 3)
    assert (down["answers"], down["answers_latency_s"]) == (3, 0.25)
    assert (down["since"], down["next_probe_at"]) == ("2027-01-15T07:59:57Z", "2027-01-15T08:00:02Z")
    assert down["probes"] == [{"at": "2027-01-15T07:59:59Z", "ok": False, "detail": "refused", "took_ms": 2.0}]
    assert (up["state"], up["takes_work"], up["effective_weight"]) == ("unchecked", True, 30)
    assert (parked["target"], parked["takes_work"]) == ("[fd00::3]:80", False)
    assert listener["rules"][4]["redirect"] == "308 to (same scheme)://(same host)/new"


def test_all_targets_down_is_said(lab):
    for target in ("10.0.0.1:80", "10.0.0.2:80"):
        lab.set_state(target_key(SHOP, target), TargetState.EJECTED)
    assert lab.get("/v1/status")["listeners"][0]["rules"][0]["all_unavailable"] is True


def test_a_removed_target_is_watched_until_it_has_no_work(lab, site_without_first_target):
    first = target_key(SHOP, "10.0.0.1:80")
    lab.set_cell(first, TargetField.IN_FLIGHT, 7)
    row = lab.node.outline.rows[first]
    lab.node.replace_outline(outline(site_without_first_target, 2, lab.rows))
    removed = [d for d in lab.get("/v1/status")["draining"] if d["reason"] == "removed"]
    assert [(d["target"], d["in_flight"], d["until"]) for d in removed] == [("10.0.0.1:80", 7, "2027-01-15T08:00:30Z")]
    lab.now += 5
    lab.node.forget_drained()
    assert first in lab.node.removed
    lab.cells.columns[1][row * 8 + TargetField.IN_FLIGHT] = 0
    lab.node.forget_drained()
    assert lab.node.removed == {}


def test_a_removed_target_that_comes_back_is_not_draining(lab, site_without_first_target):
    lab.node.replace_outline(outline(site_without_first_target, 2, lab.rows))
    assert len(lab.node.removed) == 1
    lab.node.replace_outline(outline(version=3, rows=lab.rows))
    assert lab.node.removed == {}


def test_a_removed_target_is_given_up_after_its_time(lab, site_without_first_target):
    lab.set_cell(target_key(SHOP, "10.0.0.1:80"), TargetField.IN_FLIGHT, 7)
    lab.node.replace_outline(outline(site_without_first_target, 2, lab.rows))
    lab.now += 36
    lab.node.forget_drained()
    assert lab.node.removed == {}


def test_weight_0_counts_as_draining(lab):
    lab.set_cell(target_key(SHOP, "[fd00::3]:80"), TargetField.IN_FLIGHT, 2)
    parked = lab.get("/v1/status")["draining"][0]
    assert (parked["target"], parked["reason"], parked["in_flight"]) == ("[fd00::3]:80", "weight 0", 2)


def test_rates_are_means_of_ten_seconds(lab):
    for number in range(12):
        traffic = Traffic(wire_in=100 * number, wire_out=1000 * number)
        totals = ListenerTotals(connections=2 * number, requests={"2xx": 5 * number}, traffic=traffic)
        lab.node.rates.take({"shop/https": totals, "shop/http": ListenerTotals()})
        lab.now += 1
    status = lab.get("/v1/status")
    assert status["rates"] == {
        "connections_per_s": 2.0,
        "handshakes_per_s": 0.0,
        "requests_per_s": 5.0,
        "in_bytes_per_s": 100.0,
        "out_bytes_per_s": 1000.0,
    }
    assert status["listeners"][1]["rates"]["requests_per_s"] == 0.0


def test_a_counter_that_began_anew_gives_no_negative_rate(lab):
    lab.node.rates.take({"shop/https": ListenerTotals(connections=50)})
    lab.now += 1
    lab.node.rates.take({"shop/https": ListenerTotals(connections=1)})
    assert lab.node.rates.all().connections_per_s == 0.0


# --- events ---


def test_events_are_told_in_order_and_from_where_one_was(lab):
    for number in range(5):
        lab.node.events.add("worker_died", f"signal {number}", "worker-0", pid=number)
    told = lab.get("/v1/events?after=3")
    assert [(e["number"], e["cause"], e["details"]) for e in told["events"]] == [
        (4, "signal 3", {"pid": 3}),
        (5, "signal 4", {"pid": 4}),
    ]
    assert (told["last_event"], told["missed"]) == (5, False)
    assert lab.get("/v1/events?after=1&limit=2")["missed"] is True
    assert lab.get("/v1/events?after=99")["events"] == []


@pytest.mark.parametrize("query", ["after=-1", "limit=0", "limit=100000", "after=x"])
def test_events_have_bounds(lab, query):
    response = lab.request("GET", f"/v1/events?{query}")
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_input"


# --- reload ---

CHANGE = {"kind": "in_place", "where": "shop/https", "what": "weight 10 to 20", "listener": "shop/https"}


def test_a_reload_tells_what_changed(lab):
    lab.supervisor.replies["reload"] = {"ok": True, "version": 2, "changes": [CHANGE], "warnings": ["x"]}
    response = lab.request("POST", "/v1/reload")
    assert response.status_code == 200
    assert response.json() == {
        "done": True,
        "config_version": 2,
        "changes": [{"kind": "in_place", "where": "shop/https", "what": "weight 10 to 20"}],
        "warnings": ["x"],
    }


def test_a_plan_does_nothing(lab):
    lab.supervisor.replies["plan"] = {"ok": True, "version": 1, "changes": []}
    response = lab.request("POST", "/v1/reload", json={"plan_only": True})
    assert (response.json()["done"], lab.supervisor.asked) == (False, ["plan"])


REFUSALS = {
    "faults": ({"ok": False, "errors": ["clb.yaml:1:1: wrong", "clb.yaml:2:1: too"]}, 422, "refused"),
    "busy": ({"ok": False, "code": "busy", "errors": ["the node is draining"]}, 409, "busy"),
    "silent": (None, 503, "supervisor_silent"),
}


@pytest.mark.parametrize(("reply", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_refused_reloads(lab, reply, status, code):
    lab.supervisor.replies["reload"] = reply
    response = lab.request("POST", "/v1/reload")
    assert (response.status_code, response.json()["code"]) == (status, code)
    if status == 422:
        assert [each["message"] for each in response.json()["errors"]] == ["clb.yaml:1:1: wrong", "clb.yaml:2:1: too"]


@pytest.mark.parametrize("body", ['{"plan_only": 5}', '{"plan": true}', "[", "7"])
def test_a_reload_takes_nothing_else(lab, body):
    response = lab.request("POST", "/v1/reload", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400


# --- errors ---


def test_errors_have_one_form(lab):
    missing = lab.request("GET", "/nothing")
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json() == {
        "type": "urn:clb:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": "there is nothing at this path",
        "instance": f"urn:clb:request:{missing.headers['x-request-id']}",
        "code": "not_found",
        "errors": [],
    }
    refused = lab.request("DELETE", "/v1/status")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET"


def test_a_defect_tells_nothing_but_that_it_is_one(lab, caplog):
    def fail() -> None:
        raise RuntimeError("secret path")

    lab.node.totals = fail
    response = lab.request("GET", "/v1/status")
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert "/v1/status" in caplog.text


def test_the_document_names_every_route(lab):
    paths = lab.get("/v1/openapi.json")["paths"]
    assert set(paths) >= {
        "/healthz", "/readyz", "/metrics", "/v1/status", "/v1/events", "/v1/reload", "/v1/explain",
    }  # fmt: skip
    assert lab.request("GET", "/docs").status_code == 404


def test_a_store_that_is_away_does_not_stop_traffic(lab):
    lab.node.store_fault = "connection to db.example.com refused"
    lab.node.store_behind = "port 443 is taken"
    notes = ["the store is away, nothing can be written", "what the store has is not in service"]
    assert lab.get("/readyz") == {"ready": True, "reasons": [], "notes": notes}
    metrics = lab.request("GET", "/metrics").text
    assert "\nclb_store_up 0.0\n" in metrics
    assert "\nclb_store_in_service 0.0\n" in metrics
