"""The audit log by the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from control_lab import NOW

from clb.control import audit_routes
from clb.control.access import audit
from clb.store.interface import StoreAway
from clb.store.inventory import Role

START = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture
def records(lab):
    """Ten of them: every third by somebody else."""
    for number in range(10):
        actor = "token:ci (tok-1)" if number % 3 == 0 else "uid:0 (control socket)"
        action = "token.create" if number % 2 else "certificate.replace"
        at = START + timedelta(seconds=number)
        lab.store.records.append(audit(actor, action, f"id-{number} (n)", at=at, request_id="r", after={"n": number}))
    return lab.store.records


def numbers(page):
    return [each["number"] for each in page["records"]]


def test_newest_first_in_pages(lab, records):
    first = lab.get("/v1/audit?limit=4")
    assert (numbers(first), first["next"]) == ([10, 9, 8, 7], 7)
    second = lab.get("/v1/audit?limit=4&below=7")
    last = lab.get(f"/v1/audit?limit=4&below={second['next']}")
    assert (numbers(second), numbers(last), last["next"]) == ([6, 5, 4, 3], [2, 1], None)
    assert first["records"][0]["after"] == {"n": 9}


FILTERS = {
    "actor": ("actor=tok-1", [10, 7, 4, 1]),
    "action": ("action=token", [10, 8, 6, 4, 2]),
    "subject": ("subject=id-3", [4]),
    "outcome": ("outcome=refused", []),
    "several": ("actor=tok-1&action=token.create", [10, 4]),
    "since": (f"since={(START + timedelta(seconds=8)).isoformat().replace('+00:00', 'Z')}", [10, 9]),
}


@pytest.mark.parametrize(("query", "expected"), FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("step", [2, 1000])
def test_filters(lab, records, query, expected, step, monkeypatch):
    monkeypatch.setattr(audit_routes, "_STEP", step)
    page = lab.get(f"/v1/audit?{query}")
    assert (numbers(page), page["next"]) == (expected, None)


def test_pages_of_what_is_filtered(lab, records):
    page = lab.get("/v1/audit?action=token&limit=2")
    assert (numbers(page), page["next"]) == ([10, 8], 8)
    assert numbers(lab.get("/v1/audit?action=token&limit=2&below=8")) == [6, 4]


def test_a_search_that_finds_little_goes_on_in_the_next_page(lab, records, monkeypatch):
    monkeypatch.setattr(audit_routes, "_STEP", 2)
    monkeypatch.setattr(audit_routes, "_MOST_LOOKED_AT", 4)
    page = lab.get("/v1/audit?subject=id-0")
    assert (numbers(page), page["next"]) == ([], 7)
    page = lab.get(f"/v1/audit?subject=id-0&below={page['next']}")
    page = lab.get(f"/v1/audit?subject=id-0&below={page['next']}")
    assert (numbers(page), page["next"]) == ([1], None)


def test_a_reload_is_recorded_whatever_became_of_it(lab):
    lab.supervisor.replies["reload"] = {"ok": True, "version": 2, "changes": [{"kind": "in_place", "where": "a"}]}
    headers = lab.bearer(Role.OPERATOR)
    done = lab.request("POST", "/v1/reload", guarded=True, headers=headers)
    lab.supervisor.replies["reload"] = {"ok": False, "errors": ["clb.yaml:1:1: wrong"]}
    lab.request("POST", "/v1/reload")
    lab.supervisor.replies["plan"] = {"ok": True}
    lab.request("POST", "/v1/reload", json={"plan_only": True})
    refused, reloaded = lab.get("/v1/audit?action=node.reload")["records"]
    assert (reloaded["outcome"], reloaded["after"]["config_version"]) == ("done", 2)
    assert reloaded["actor"].startswith("token:operator-0 (tok-")
    assert reloaded["request_id"] == done.headers["x-request-id"]
    assert (refused["outcome"], refused["after"]["errors"]) == ("refused", ["clb.yaml:1:1: wrong"])
    assert refused["actor"].startswith("uid:")


def test_refused_logins_are_one_record(lab):
    for _ in range(7):
        lab.request("GET", "/v1/status", guarded=True, headers={"authorization": "Bearer wrong"})
    (record,) = lab.get("/v1/audit?outcome=refused")["records"]
    assert (record["actor"], record["after"]["attempts"]) == ("192.0.2.77", 7)


def test_a_viewer_may_not_see_it(lab):
    assert lab.request("GET", "/v1/audit", guarded=True, headers=lab.bearer(Role.VIEWER)).status_code == 403
    assert lab.request("GET", "/v1/audit", guarded=True, headers=lab.bearer(Role.OPERATOR)).status_code == 200


def test_a_store_that_is_away(lab):
    lab.store.fault = StoreAway("gone")
    assert lab.request("GET", "/v1/audit").status_code == 503
    lab.node.writer = None
    assert lab.request("GET", "/v1/audit").status_code == 503
