"""Tokens by the API: made, shown once, changed, revoked, and each of it recorded."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from control_lab import NOW

from clb.control import token_routes
from clb.store.interface import OutcomeUnknown, StaleRevision, StoreAway
from clb.store.inventory import Role

START = datetime.fromtimestamp(NOW, UTC)


def make(lab, name="deploy", role="operator", status=201, **keys):
    response = lab.request("POST", "/v1/tokens", json={"name": name, "role": role, **keys})
    assert response.status_code == status, response.text
    return response.json()


def test_a_token_is_made_and_its_secret_shown_once(lab):
    made = make(lab)
    assert re.fullmatch(r"clb_[a-z2-9]{12}_[A-Za-z0-9_-]{43}", made["secret"])
    assert (made["name"], made["role"], made["state"]) == ("deploy", "operator", "active")
    assert made["created_by"].startswith("uid:")
    for path in (f"/v1/tokens/{made['id']}", "/v1/tokens", "/v1/audit"):
        assert made["secret"][17:] not in lab.request("GET", path).text
    (record,) = lab.store.records
    assert (record.action, record.subject) == ("token.create", f"{made['id']} (deploy)")
    assert record.before is None
    assert made["secret"] not in repr(record) + repr(lab.store.inventory)


def test_it_opens_and_says_whose_it_is(lab):
    made = make(lab)
    headers = {"authorization": f"Bearer {made['secret']}"}
    who = lab.get("/v1/whoami", guarded=True, headers=headers)
    assert (who["name"], who["role"]) == (f"token:deploy ({made['id']})", "operator")
    assert who["token"]["last_used_at"].startswith(f"{START:%Y-%m-%dT%H:%M:%S}")
    assert "secret" not in who["token"]
    assert lab.get("/v1/whoami")["token"] is None


def test_the_answer_says_where_it_is_and_which_version(lab):
    response = lab.request("POST", "/v1/tokens", json={"name": "a", "role": "viewer"})
    assert response.headers["etag"] == '"1"'
    assert lab.request("GET", response.headers["location"]).headers["etag"] == '"1"'


BAD = {
    "no_name": ({"role": "viewer"}, 400),
    "empty_name": ({"name": "", "role": "viewer"}, 400),
    "odd_name": ({"name": "a b", "role": "viewer"}, 400),
    "line": ({"name": "a\n", "role": "viewer"}, 400),
    "long_name": ({"name": "a" * 64, "role": "viewer"}, 400),
    "role": ({"name": "a", "role": "root"}, 400),
    "unknown_key": ({"name": "a", "role": "viewer", "secret": "mine"}, 400),
    "no_zone": ({"name": "a", "role": "viewer", "expires_at": "2040-01-01T00:00:00"}, 400),
    "past": ({"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, 422),
    "now": ({"name": "a", "role": "viewer", "expires_at": START.isoformat()}, 422),
}


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD)
def test_what_is_no_token(lab, body, status):
    response = lab.request("POST", "/v1/tokens", json=body)
    assert response.status_code == status
    assert "mine" not in response.text
    assert lab.store.records == []


def test_names_are_unique_until_revoked(lab):
    made = make(lab)
    assert make(lab, status=409)["code"] == "name_taken"
    revoke(lab, made["id"])
    assert make(lab)["id"] != made["id"]


def revoke(lab, token_id, match='"1"', status=200, **keys):
    response = lab.request("DELETE", f"/v1/tokens/{token_id}", headers={"if-match": match} if match else {}, **keys)
    assert response.status_code == status, response.text
    return response.json()


def test_a_revoked_token_opens_nothing_and_stays_so(lab):
    made = make(lab, role="admin")
    headers = {"authorization": f"Bearer {made['secret']}"}
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 200
    assert revoke(lab, made["id"])["state"] == "revoked"
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 401
    assert revoke(lab, made["id"], match='"2"', status=409)["code"] == "revoked"
    patched = lab.request("PATCH", f"/v1/tokens/{made['id']}", json={"name": "b"}, headers={"if-match": "*"})
    assert patched.status_code == 409


def test_an_expired_token_may_be_given_more_time(lab):
    made = make(lab, expires_at=(START + timedelta(hours=1)).isoformat())
    headers = {"authorization": f"Bearer {made['secret']}"}
    lab.now += 3600
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 401
    assert lab.get(f"/v1/tokens/{made['id']}")["state"] == "expired"
    answer = lab.request("PATCH", f"/v1/tokens/{made['id']}", json={"expires_at": None}, headers={"if-match": '"1"'})
    assert (answer.status_code, answer.json()["expires_at"], answer.headers["etag"]) == (200, None, '"2"')
    assert lab.request("GET", "/v1/status", guarded=True, headers=headers).status_code == 200


def test_a_change_names_only_what_changes(lab):
    made = make(lab, expires_at="2040-01-01T00:00:00Z")
    other = make(lab, "other")
    path, match = f"/v1/tokens/{made['id']}", {"if-match": "*"}
    changed = lab.request("PATCH", path, json={"name": "renamed"}, headers=match).json()
    assert (changed["name"], changed["expires_at"], changed["role"]) == ("renamed", "2040-01-01T00:00:00Z", "operator")
    assert lab.request("PATCH", path, json={"role": "admin"}, headers=match).status_code == 400
    assert lab.request("PATCH", path, json={"name": "other"}, headers=match).status_code == 409
    assert lab.request("PATCH", path, json={"name": "renamed"}, headers=match).status_code == 200
    record = lab.store.records[2]
    assert record.before is not None
    assert record.after is not None
    assert (record.action, record.before["name"], record.after["name"]) == ("token.change", "deploy", "renamed")
    assert other["id"] not in record.subject


PRECONDITIONS = {
    "none": (None, 428, "precondition_required"),
    "other": ('"7"', 412, "version_mismatch"),
    "weak": ('W/"1"', 412, "version_mismatch"),
    "right": ('"1"', 200, None),
    "any": ("*", 200, None),
    "one_of": ('"9", "1"', 200, None),
}


@pytest.mark.parametrize(("match", "status", "code"), PRECONDITIONS.values(), ids=PRECONDITIONS)
def test_a_write_says_what_it_was_decided_on(lab, match, status, code):
    made = make(lab)
    answer = revoke(lab, made["id"], match, status)
    assert code is None or answer["code"] == code


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_token_that_is_not_there(lab, method):
    response = lab.request(
        method, "/v1/tokens/tok-x", json={} if method == "PATCH" else None, headers={"if-match": "*"}
    )
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_dry_runs_change_nothing(lab):
    made = make(lab)
    keys = {"params": {"dry_run": "true"}}
    tried = lab.request("POST", "/v1/tokens", json={"name": "b", "role": "viewer"}, **keys)
    assert (tried.status_code, tried.json()) == (200, {"dry_run": True, "changes": []})
    assert lab.request("POST", "/v1/tokens", json={"name": "deploy", "role": "viewer"}, **keys).status_code == 409
    assert revoke(lab, made["id"], **keys)["dry_run"] is True
    assert [each["state"] for each in lab.get("/v1/tokens")["tokens"]] == ["active"]
    assert len(lab.store.records) == 1


def test_a_repeated_request_makes_no_other_token_and_shows_no_secret(lab):
    keys = {"json": {"name": "a", "role": "viewer"}, "headers": {"idempotency-key": "k-1"}}
    first, again = (lab.request("POST", "/v1/tokens", **keys) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == {**first.json(), "secret": None}
    assert again.headers["location"] == first.headers["location"]
    assert len(lab.tokens()) == 1
    (kept,) = lab.store.replays.values()
    assert first.json()["secret"] not in repr(kept)
    other = lab.request("POST", "/v1/tokens", json={"name": "b", "role": "viewer"}, headers=keys["headers"])
    assert other.status_code == 422


def test_pages_and_filters(lab):
    for number in range(5):
        lab.now += 1
        make(lab, f"t{number}")
    first = lab.get("/v1/tokens?limit=2")
    assert [each["name"] for each in first["tokens"]] == ["t0", "t1"]
    second = lab.get(f"/v1/tokens?limit=2&after={first['next']}")
    last = lab.get(f"/v1/tokens?limit=2&after={second['next']}")
    assert [each["name"] for each in second["tokens"] + last["tokens"]] == ["t2", "t3", "t4"]
    assert last["next"] is None
    assert [each["name"] for each in lab.get("/v1/tokens?name=t3")["tokens"]] == ["t3"]
    revoke(lab, first["tokens"][0]["id"])
    assert len(lab.get("/v1/tokens")["tokens"]) == 4
    assert lab.get("/v1/tokens?revoked=true")["tokens"][0]["state"] == "revoked"


def test_there_is_a_bound(lab, monkeypatch):
    monkeypatch.setattr(token_routes, "MOST_TOKENS", 2)
    make(lab, "a")
    make(lab, "b")
    assert make(lab, "c", status=409)["code"] == "too_many_tokens"


@pytest.mark.parametrize(
    ("fault", "code"), [(StoreAway("gone"), "store_away"), (OutcomeUnknown("lost"), "outcome_unknown")]
)
def test_a_store_that_is_away(lab, fault, code):
    lab.store.fault = fault
    assert make(lab, status=503)["code"] == code
    assert lab.get("/v1/tokens")["tokens"] == []


def test_another_node_writes_all_the_time(lab):
    lab.store.fault = StaleRevision("again")
    lab.store.read = lambda: lab.store.inventory
    assert make(lab, status=503)["code"] == "busy"


def test_before_the_store_is_known(lab):
    lab.node.writer = None
    assert make(lab, status=503)["code"] == "starting"
    assert lab.request("GET", "/v1/tokens").status_code == 503


def test_the_role_of_a_token_bounds_what_it_may(lab):
    for role in (Role.VIEWER, Role.OPERATOR):
        headers = lab.bearer(role)
        refused = lab.request("POST", "/v1/tokens", guarded=True, headers=headers, json={"name": "x", "role": "admin"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "takes the role admin" in refused.json()["detail"]
