"""Models of the store's entries: the same as of a file, made again only where something is other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from inventories import balancer, certificate, inventory, listener, rule, shop, target

from clb.config.models import Config
from clb.service.steps import at_once
from clb.service.stored_models import ModelFaults, StoredModels, certificate_references
from clb.store.inventory import Write

NOTHING = Config()


def made(known, before=None, in_service=NOTHING):
    return at_once((before or StoredModels()).after(known, in_service))


def test_models_are_those_of_a_file():
    models = made(inventory(*shop()))
    (found,) = models.balancers
    targets = ({"address": "10.0.0.1", "port": 9000 + each, "weight": 10} for each in range(2))
    rules = tuple({"domain": f"r{number}.example.com", "default": not number} for number in range(3))
    targets = tuple(targets)
    front = {"name": "http", "port": 8080, "protocol": "http"}
    front["rules"] = tuple({**each, "targets": targets} for each in rules)
    document = {"name": "shop", "stored": "lb-shop0000", "listeners": (front,)}
    expected = Config.model_validate({"load_balancers": (document,)}).load_balancers[0]
    assert found == expected.model_copy(update={"stored": "lb-shop"})


def test_what_a_write_does_not_touch_stays_the_same_object():
    known = inventory(*shop())
    before = made(known)
    after = known.after(Write(entries=(target("tgt-new", "rule-1", 9100, position=9),)))
    now = made(after, before)
    assert now.is_same_but_targets
    old, new = (models.balancers[0].listeners[0] for models in (before, now))
    assert new is not old
    assert [a is b for a, b in zip(old.rules, new.rules, strict=True)] == [True, False, True]
    assert len(new.rules[1].targets) == 3
    # Without the hint of the write it is the same.
    assert made(replace(after, changed=None), before).balancers == now.balancers


@pytest.mark.parametrize(
    ("write", "rules"),
    [
        (Write(removed=frozenset({"rule-1", "tgt-1-0", "tgt-1-1"})), ["r0", "r2"]),
        (Write(entries=(rule("rule-9", "lst-shop", "r9.example.com", 9),)), ["r0", "r1", "r2", "r9"]),
        (Write(entries=(rule("rule-1", "lst-shop", "other.example.com", 1),)), ["r0", "other", "r2"]),
    ],
    ids=["removed", "added", "renamed"],
)
def test_rules_come_and_go(write, rules):
    known = inventory(*shop())
    now = made(known.after(write), made(known))
    assert not now.is_same_but_targets
    assert [each.domain.split(".")[0] for each in now.balancers[0].listeners[0].rules] == rules


def test_what_is_in_service_already_is_taken_where_it_is_equal():
    known = inventory(*shop())
    (served,) = made(known).balancers
    again = made(known, in_service=Config(load_balancers=(served,)))
    assert again.balancers[0] is served
    changed = known.after(Write(entries=(target("tgt-1-0", "rule-1", 9000, weight=3),)))
    found = made(replace(changed, changed=None), in_service=Config(load_balancers=(served,)))
    rules = zip(served.listeners[0].rules, found.balancers[0].listeners[0].rules, strict=True)
    assert [a is b for a, b in rules] == [True, False, True]


def test_what_serves_is_known_without_making_it():
    known = inventory(*shop())
    (served,) = made(known).balancers
    models = StoredModels.known(known, [served])
    assert models.balancers == (served,)
    assert models.by_id["rule-2"] is served.listeners[0].rules[2]
    # With a rule missing nothing of it is believed.
    listener_ = served.listeners[0].model_copy(update={"rules": served.listeners[0].rules[:2]})
    assert StoredModels.known(known, [served.model_copy(update={"listeners": (listener_,)})]).balancers == ()


FRONT = "load balancer shop, listener http"
FAULTS = {
    "target": (target("tgt-x", "rule-0", 0, position=9), f"{FRONT}, rule r0.example.com /", "targets[2].port"),
    "rule": (rule("rule-x", "lst-shop", "a b", 9), f"{FRONT}, rule a b /", "domain"),
    "twice": (rule("rule-x", "lst-shop", "r1.example.com", 9), FRONT, "rules[3].domain"),
    "two_defaults": (
        rule("rule-x", "lst-shop", "x.example.com", 9, default=True),
        FRONT,
        "rules[3].default",
    ),
    "listener": (
        listener("lst-x", "lb-shop", name="other", timeouts={"connect": "1d"}),
        "load balancer shop, listener other",
        "timeouts.connect",
    ),
    "balancer": (balancer("lb-x", "other", region=1), "load balancer other", "region"),
}


@pytest.mark.parametrize(("entry", "place", "key"), FAULTS.values(), ids=FAULTS)
def test_faults_name_the_object_and_the_key(entry, place, key):
    known = inventory(*shop())
    with pytest.raises(ModelFaults) as faults:
        made(known.after(Write(entries=(entry,))), made(known))
    (problem,) = faults.value.problems
    assert problem.where == place
    assert problem.key.startswith(key)


def test_certificates_are_named_by_id_and_shown_by_name():
    secure = listener("lst-x", "lb-shop", 8443, name="https", protocol="https", certificate="cert-1")
    known = inventory(*shop(), secure, certificates=(certificate("cert-1", "web"),))
    models = made(known)
    assert [each.certificate for each in models.balancers[0].listeners] == [None, "web"]
    renamed = known.after(Write(certificates=(certificate("cert-1", "web-2026"),)))
    assert [each.certificate for each in made(renamed, models).balancers[0].listeners] == [None, "web-2026"]


def test_references_of_a_document():
    document = {"certificate": "a", "certificates": ["b", "c"], "ca_certificate": "d"}
    assert certificate_references(document) == ("a", "d", "b", "c")
    assert certificate_references({}) == ()
