"""Load balancers, listeners, rules and targets through the API: what is stored, answered and refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from control_lab import SITE, outline

from clb.control.object_drafts import merged
from clb.metering.cells import TargetState
from clb.store.inventory import Kind, Role

TARGET = {"address": "10.0.0.5", "port": 8080}
RULE = {"domain": "new.example.com", "default": True, "targets": [TARGET, {"address": "10.0.0.6", "port": 80}]}
LISTENER = {"protocol": "http", "port": 8081, "rules": [RULE]}
BALANCER = {"name": "new", "labels": {"tenant": "acme"}, "listeners": [LISTENER]}
OF_FILE = "file-shop~https"


def ask(lab, method: str, path: str, body: Any = None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lab.request(method, path, json=body, headers=named)


def made(lab) -> dict[str, str]:
    """A tree of all four, by the ids of its first ones."""
    response = ask(lab, "POST", "/v1/load-balancers", BALANCER)
    assert response.status_code == 201, response.text
    below = f"load_balancer={response.json()['id']}"
    return {
        "load_balancer": response.json()["id"],
        "listener": lab.get(f"/v1/listeners?{below}")["listeners"][0]["id"],
        "rule": lab.get(f"/v1/rules?{below}")["rules"][0]["id"],
        "target": lab.get(f"/v1/targets?{below}")["targets"][0]["id"],
    }


def code(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def documents(lab, kind: Kind) -> dict[str, dict]:
    return {each.key: dict(each.document) for each in lab.store.inventory.entries.values() if each.kind is kind}


# --- making ---


def test_a_tree_is_made_in_one_write(lab):
    response = ask(lab, "POST", "/v1/load-balancers", BALANCER)
    answer = response.json()
    assert response.headers["location"] == f"/v1/load-balancers/{answer['id']}"
    assert response.headers["etag"] == '"1"'
    assert (answer["name"], answer["owner"], answer["listeners"]) == ("new", "api", 1)
    assert answer["document"] == {"name": "new", "labels": {"tenant": "acme"}}
    assert lab.store.inventory.revision == 1
    assert documents(lab, Kind.LISTENER) == {"http-8081": {"name": "http-8081", "protocol": "http", "port": 8081}}
    assert documents(lab, Kind.RULE) == {"new.example.com /": {"domain": "new.example.com", "default": True}}
    assert list(documents(lab, Kind.TARGET)) == ["10.0.0.5:8080", "10.0.0.6:80"]
    record = lab.store.records[-1]
    assert (record.action, record.actor[:4]) == ("load_balancer.create", "uid:")
    assert record.after["listeners"][0]["port"] == 8081


def test_one_below_the_other(lab):
    balancer = ask(lab, "POST", "/v1/load-balancers", {"name": "new"}).json()["id"]
    listener = ask(lab, "POST", f"/v1/load-balancers/{balancer}/listeners", {"protocol": "http", "port": 81}).json()
    rule = ask(lab, "POST", f"/v1/listeners/{listener['id']}/rules", {"domain": "a.test", "default": True})
    assert rule.json()["warnings"] == [{"message": "no targets: every request gets 503", "where": "", "key": "targets"}]
    target = ask(lab, "POST", f"/v1/rules/{rule.json()['id']}/targets", TARGET).json()
    assert target["rule"] == {"id": rule.json()["id"], "name": "a.test /"}
    assert target["load_balancer"] == {"id": balancer, "name": "new"}
    assert (target["weight"], target["draining"], target["health"]) == (10, False, "unchecked")


def tree(rule: dict) -> dict:
    return {"name": "a", "listeners": [{"protocol": "http", "rules": [rule]}]}


BAD = {
    "no_name": ({}, ["name: is missing; every load balancer has one"]),
    "unknown_key": ({"name": "a", "nmae": "b"}, ["nmae: "]),
    "deep": (
        {"name": "a", "listeners": [{"protocol": "http", "rules": [{"domain": "a b", "targets": [{"port": 0}]}]}]},
        [
            "listeners[0].rules[0].domain: ",
            "listeners[0].rules[0].targets[0].address: ",
            "listeners[0].rules[0].targets[0].port: ",
        ],
    ),
    "twice": (
        tree({"domain": "a.test", "targets": [TARGET, TARGET]}),
        ["listeners[0].rules[0].targets[1]: is the same target as targets[0]: 10.0.0.5:8080"],
    ),
    "no_list": ({"name": "a", "listeners": {}}, ["listeners: is a mapping; write a list"]),
    "no_mapping": ({"name": "a", "listeners": [1]}, ["listeners[0]: is 1; write a mapping"]),
    "null": ({"name": "a", "listeners": None}, ["listeners: has no value; write a list"]),
    "of_files": ({"name": "a", "stored": "lb-h4nd3xq7w2ab"}, ["stored: is a key of the configuration file only"]),
    "draining": (
        tree({"domain": "a.test", "targets": [{**TARGET, "draining": True}]}),
        ["listeners[0].rules[0].targets[0].draining: is no key; POST .../drain does it"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "lines"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_by_key_and_nothing_is_made(lab, document, lines):
    response = ask(lab, "POST", "/v1/load-balancers", document)
    assert code(response) == (422, "invalid_object")
    told = [f"{each['key']}: {each['message']}" for each in response.json()["errors"]]
    for line in lines:
        assert any(each.startswith(line) for each in told), (line, told)
    assert lab.store.inventory.revision == 0


def test_too_many_at_once(lab):
    targets = [{"address": f"10.1.{number >> 8}.{number & 255}", "port": 80} for number in range(500)]
    listener = {**LISTENER, "rules": [{**RULE, "targets": targets}]}
    response = ask(lab, "POST", "/v1/load-balancers", {"name": "new", "listeners": [listener]})
    assert code(response) == (422, "too_many_objects")


def test_names_are_taken_once(lab):
    ids = made(lab)
    assert code(ask(lab, "POST", "/v1/load-balancers", {"name": "new"})) == (409, "name_taken")
    of_file = ask(lab, "POST", "/v1/load-balancers", {"name": "shop"})
    assert "of the configuration file" in of_file.json()["detail"]
    path = f"/v1/load-balancers/{ids['load_balancer']}/listeners"
    assert code(ask(lab, "POST", path, {"protocol": "http", "port": 8081})) == (409, "name_taken")
    assert code(ask(lab, "POST", f"/v1/rules/{ids['rule']}/targets", TARGET)) == (409, "name_taken")
    renamed = ask(lab, "PATCH", f"/v1/load-balancers/{ids['load_balancer']}", {"name": "shop"}, if_match="*")
    assert code(renamed) == (409, "name_taken")


def test_a_request_is_repeated_by_its_key(lab):
    first = ask(lab, "POST", "/v1/load-balancers", BALANCER, idempotency_key="k-1")
    again = ask(lab, "POST", "/v1/load-balancers", BALANCER, idempotency_key="k-1")
    assert (again.status_code, again.text) == (201, first.text)
    assert again.headers["idempotent-replay"] == "true"
    other = ask(lab, "POST", "/v1/load-balancers", {"name": "other"}, idempotency_key="k-1")
    assert code(other) == (422, "idempotency_key_reused")
    assert lab.store.inventory.revision == 1


def test_a_dry_run_makes_nothing(lab):
    response = ask(lab, "POST", "/v1/load-balancers?dry_run=true", BALANCER)
    assert (response.status_code, response.json()["dry_run"]) == (200, True)
    assert lab.store.inventory.revision == 0


# --- changing ---


def test_a_change_names_the_version_that_it_was_decided_on(lab):
    path = f"/v1/rules/{made(lab)['rule']}"
    assert code(ask(lab, "PATCH", path, {"scheduler": "least_conn"})) == (428, "precondition_required")
    changed = ask(lab, "PATCH", path, {"scheduler": "least_conn"}, if_match='"1"')
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    late = ask(lab, "PATCH", path, {"scheduler": "wrr"}, if_match='"1"')
    assert code(late) == (412, "version_mismatch")
    assert late.headers["etag"] == '"2"'
    assert lab.get(path)["document"]["scheduler"] == "least_conn"


def test_merging_and_replacing(lab):
    path = f"/v1/rules/{made(lab)['rule']}"
    check = {"health_check": {"path": "/up", "interval": "7s"}}
    assert ask(lab, "PATCH", path, check, if_match="*").json()["document"]["health_check"] == check["health_check"]
    merged_in = ask(lab, "PATCH", path, {"health_check": {"path": None, "healthy": 2}}, if_match="*").json()
    assert merged_in["document"]["health_check"] == {"interval": "7s", "healthy": 2}
    replaced = ask(lab, "PUT", path, {"domain": "other.test", "default": True}, if_match="*").json()
    assert replaced["document"] == {"domain": "other.test", "default": True}
    assert (replaced["domain"], replaced["targets"], replaced["version"]) == ("other.test", 2, 4)
    same = ask(lab, "PUT", path, {"domain": "other.test", "default": True}, if_match="*").json()
    assert same["version"] == 4


RFC_7396 = {  # Appendix A.
    "replaced": ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    "added": ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    "removed": ({"a": "b"}, {"a": None}, {}),
    "one_removed": ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    "list_replaced": ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    "nested": ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    "mapping_for_list": ({"a": [1]}, {"a": {"b": "c"}}, {"a": {"b": "c"}}),
    "no_null_stays": ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
}


@pytest.mark.parametrize(("document", "patch", "expected"), RFC_7396.values(), ids=RFC_7396)
def test_merge_patch(document, patch, expected):
    before = copy.deepcopy(document)
    assert merged(document, patch) == expected
    assert document == before


def test_removal(lab):
    ids = made(lab)
    refused = ask(lab, "DELETE", f"/v1/load-balancers/{ids['load_balancer']}", if_match='"1"')
    assert code(refused) == (409, "not_empty")
    assert ask(lab, "DELETE", f"/v1/targets/{ids['target']}", if_match='"1"').status_code == 204
    assert code(ask(lab, "DELETE", f"/v1/targets/{ids['target']}", if_match="*")) == (404, "not_found")
    assert ask(lab, "DELETE", f"/v1/rules/{ids['rule']}", if_match='"1"').status_code == 204
    assert documents(lab, Kind.TARGET) == {}
    gone = ask(lab, "DELETE", f"/v1/load-balancers/{ids['load_balancer']}?cascade=true", if_match='"1"')
    assert gone.status_code == 204
    assert not lab.store.inventory.entries
    assert [each.action for each in lab.store.records[1:]] == ["target.delete", "rule.delete", "load_balancer.delete"]


# --- targets ---


def targets(lab, ids) -> dict[str, tuple[int, bool]]:
    found = lab.get(f"/v1/targets?rule={ids['rule']}")["targets"]
    return {f"{each['address']}:{each['port']}": (each["weight"], each["draining"]) for each in found}


def test_several_targets_at_once(lab):
    ids = made(lab)
    path = f"/v1/rules/{ids['rule']}/targets"
    given = [{**TARGET, "weight": 20}, {"address": "10.0.0.6", "port": 80}, {"address": "fd00::7", "port": 80}]
    assert code(ask(lab, "POST", f"{path}/register", {"targets": given})) == (428, "precondition_required")
    told = ask(lab, "POST", f"{path}/register", {"targets": given}, if_match='"1"').json()
    names = {word: [each["name"] for each in told[word]] for word in ("registered", "changed", "deregistered")}
    assert names == {"registered": ["[fd00::7]:80"], "changed": ["10.0.0.5:8080"], "deregistered": []}
    assert told["unchanged"] == 1
    weights = {"targets": [{**TARGET, "weight": 0}, {"address": "10.0.0.6", "port": 80, "weight": 10}]}
    assert ask(lab, "POST", f"{path}/weights", weights, if_match="*").json()["unchanged"] == 1
    unknown = ask(lab, "POST", f"{path}/deregister", {"targets": [{"address": "10.0.0.6", "port": 81}]}, if_match="*")
    assert code(unknown) == (404, "target_not_found")
    assert "did you mean 10.0.0.6:80?" in unknown.json()["errors"][0]["key"]
    assert ask(lab, "POST", f"{path}/deregister", {"targets": [TARGET]}, if_match="*").status_code == 200
    assert targets(lab, ids) == {"10.0.0.6:80": (10, False), "fd00::7:80": (10, False)}
    before = lab.get(f"/v1/targets?rule={ids['rule']}&address=10.0.0.6")["targets"][0]["id"]
    ask(lab, "PUT", path, {"targets": [{"address": "10.0.0.6", "port": 80, "weight": 3}]}, if_match="*")
    assert targets(lab, ids) == {"10.0.0.6:80": (3, False)}
    assert lab.get(f"/v1/targets/{before}")["weight"] == 3


def test_drain_keeps_the_weight_for_afterwards(lab):
    ids = made(lab)
    path = f"/v1/targets/{ids['target']}"
    assert ask(lab, "POST", f"{path}/drain").status_code == 428
    drained = ask(lab, "POST", f"{path}/drain", if_match='"1"').json()
    assert (drained["weight"], drained["draining"], drained["document"]) == (0, True, TARGET)
    heavier = ask(lab, "PATCH", path, {"weight": 40}, if_match="*").json()
    assert (heavier["weight"], heavier["draining"]) == (0, True)
    assert ask(lab, "POST", f"{path}/drain", if_match="*").json()["version"] == 3
    back = ask(lab, "POST", f"{path}/undrain", if_match='"3"').json()
    assert (back["weight"], back["draining"], back["version"]) == (40, False, 4)
    assert lab.get("/v1/targets?draining=true")["targets"] == []


# --- what the file owns ---


def test_objects_of_the_file_are_shown_and_not_changed(lab):
    shown = lab.get(f"/v1/listeners/{OF_FILE}")
    assert (shown["owner"], shown["name"], shown["rules"]) == ("file", "https", 15)
    rule = lab.get(f"/v1/rules?listener={OF_FILE}&limit=1")["rules"][0]["id"]
    for method, path, body in (
        ("PATCH", "/v1/load-balancers/file-shop", {"labels": {}}),
        ("DELETE", "/v1/load-balancers/file-shop", None),
        ("POST", "/v1/load-balancers/file-shop/listeners", LISTENER),
        ("PUT", f"/v1/listeners/{OF_FILE}", {"protocol": "http"}),
        ("POST", f"/v1/listeners/{OF_FILE}/rules", RULE),
        ("PATCH", f"/v1/rules/{rule}", {"scheduler": "wrr"}),
        ("POST", f"/v1/rules/{rule}/targets", TARGET),
        ("POST", f"/v1/rules/{rule}/targets/register", {"targets": [TARGET]}),
    ):
        assert code(ask(lab, method, path, body, if_match="*")) == (409, "owned_by_file"), path
    assert lab.store.inventory.revision == 0


def test_weight_and_drain_of_a_target_of_the_file(lab):
    found = lab.get("/v1/targets?address=10.0.0.2&owner=file")["targets"]
    known = next(each for each in found if each["rule"]["name"] == "shop.example.com /")
    assert (known["weight"], known["version"], known["overridden"]) == (30, 0, False)
    path = f"/v1/targets/{known['id']}"
    lighter = ask(lab, "PATCH", path, {"weight": 5}, if_match='"0"').json()
    assert (lighter["weight"], lighter["version"], lighter["overridden"]) == (5, 1, True)
    assert code(ask(lab, "PATCH", path, {"port": 81}, if_match="*")) == (409, "owned_by_file")
    assert code(ask(lab, "PATCH", path, {"weight": 101}, if_match="*")) == (422, "invalid_object")
    assert ask(lab, "POST", f"{path}/drain", if_match='"1"').json()["weight"] == 0
    back = ask(lab, "POST", f"{path}/undrain", if_match='"2"').json()
    assert (back["weight"], back["draining"]) == (5, False)
    as_the_file = ask(lab, "PATCH", path, {"weight": None}, if_match='"3"').json()
    assert (as_the_file["weight"], as_the_file["overridden"], as_the_file["version"]) == (30, False, 4)
    override = lab.store.inventory.overrides["shop/https shop.example.com/ 10.0.0.2:80"]
    assert (override.weight, override.draining, override.file_weight) == (None, False, 30)


def test_an_override_is_over_when_the_file_has_another_weight(lab):
    known = lab.get("/v1/targets?address=10.0.0.2&owner=file&limit=1000")["targets"]
    path = f"/v1/targets/{next(each['id'] for each in known if each['weight'] == 30)}"
    ask(lab, "POST", f"{path}/drain", if_match="*")
    site = copy.deepcopy(SITE)
    site["load_balancers"][0]["listeners"][0]["rules"][0]["targets"][1]["weight"] = 31
    lab.node.replace_outline(outline(site, version=2, rows=lab.rows))
    shown = lab.get(path)
    assert (shown["weight"], shown["draining"], shown["overridden"], shown["version"]) == (31, False, False, 1)


# --- lists ---


def test_pages_and_filters(lab):
    made(lab)
    every = lab.get("/v1/rules?limit=1000")["rules"]
    assert len(every) == 18
    seen, after = [], ""
    while after is not None:
        page = lab.get(f"/v1/rules?limit=5{after and '&after=' + after}")
        seen += page["rules"]
        after = page["next"]
    assert [each["id"] for each in seen] == [each["id"] for each in every]
    assert len(lab.get("/v1/rules?owner=api")["rules"]) == 1
    assert len(lab.get("/v1/rules?domain=shop.example.com&limit=50")["rules"]) == 13
    assert [each["name"] for each in lab.get("/v1/load-balancers")["load_balancers"]] == ["new", "shop"]
    assert [each["name"] for each in lab.get("/v1/listeners?port=8081")["listeners"]] == ["http-8081"]
    assert code(lab.request("GET", "/v1/rules?listener=none")) == (404, "not_found")
    assert code(lab.request("GET", "/v1/rules?after=%C3%A9")) == (422, "bad_cursor")


def test_health(lab):
    lab.set_state("shop/https shop.example.com/ 10.0.0.1:80", TargetState.UNHEALTHY)
    told = lab.get("/v1/health?state=unhealthy")
    assert [each["target"] for each in told["targets"]] == ["10.0.0.1:80"]
    assert told["targets"][0]["where"] == "load balancer shop, listener https, rule shop.example.com /"
    assert told["counts"] == {"unhealthy": 1, "unchecked": 29}
    assert lab.get("/v1/targets?health=unhealthy")["targets"][0]["health"] == "unhealthy"
    assert lab.get("/v1/health?load_balancer=file-shop&limit=2")["next"] is not None


def test_an_operator_changes_targets_and_rules_only(lab):
    ids = made(lab)
    headers = {**lab.bearer(Role.OPERATOR), "if-match": "*"}

    def status(method: str, path: str, body: Any = None) -> int:
        return lab.request(method, path, guarded=True, headers=headers, json=body).status_code

    assert status("POST", f"/v1/targets/{ids['target']}/drain") == 200
    assert status("PATCH", f"/v1/rules/{ids['rule']}", {"scheduler": "least_conn"}) == 200
    assert status("PATCH", f"/v1/listeners/{ids['listener']}", {"port": 82}) == 403
    assert status("POST", "/v1/load-balancers", {"name": "x"}) == 403
