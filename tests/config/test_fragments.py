"""Documents as the API takes them: every fault by its key path, and the same model as from a file."""

from __future__ import annotations

import pytest

from clb.config.faults import spell
from clb.config.fragments import (
    FragmentFault,
    check_listener,
    check_load_balancer,
    check_rule,
    check_target,
    parse_listener,
    parse_load_balancer,
    parse_rule,
    rule_document,
)
from clb.config.models import Config, Listener, Rule, Target

TARGET = {"address": "10.0.0.5", "port": 8080}

FAULTS = {  # case: (check, document, key paths)
    "load_balancer": (check_load_balancer, {"name": "shop", "labels": {"team": "web"}}, []),
    "load_balancer_without_name": (check_load_balancer, {}, ["name"]),
    "load_balancer_with_listeners": (check_load_balancer, {"name": "shop", "listeners": []}, ["listeners"]),
    "load_balancer_of_the_file": (check_load_balancer, {"name": "shop", "stored": "lb-1"}, ["stored"]),
    "regions_as_json": (check_load_balancer, {"name": "shop", "region": ["a", "b"]}, []),
    "unknown_key": (check_load_balancer, {"name": "shop", "labells": {}}, ["labells"]),
    "listener": (check_listener, {"certificate": "web"}, []),
    "listener_without_certificate": (check_listener, {"name": "https"}, ["certificate"]),
    "listener_with_rules": (check_listener, {"certificate": "web", "rules": []}, ["rules"]),
    "listener_with_list": (
        check_listener,
        {"certificate": "web", "ssl_mode": "mutual", "ca_certificate": "ca", "crl": "/x"},
        ["crl"],
    ),
    "mutual_without_ca": (check_listener, {"certificate": "web", "ssl_mode": "mutual"}, ["ca_certificate"]),
    "nested": (check_listener, {"certificate": "web", "timeouts": {"handshake": "1h"}}, ["timeouts.handshake"]),
    "rate_limit": (
        check_listener,
        {"certificate": "web", "rate_limits": [{"rate": "10/s", "key": "header"}]},
        ["rate_limits[0].header"],
    ),
    "rule": (check_rule, {"domain": "a.example.com"}, []),
    "rule_without_domain": (check_rule, {"url": "/"}, ["domain"]),
    "rule_with_targets": (check_rule, {"domain": "a.example.com", "targets": []}, ["targets"]),
    "redirect": (check_rule, {"domain": "a.example.com", "redirect": {"scheme": "https"}}, []),
    "redirect_with_scheduler": (
        check_rule,
        {"domain": "a.example.com", "redirect": {"scheme": "https"}, "scheduler": "wrr"},
        ["scheduler"],
    ),
    "session_with_hash": (
        check_rule,
        {"domain": "a.example.com", "scheduler": "ip_hash", "session": {"expire": "1h"}},
        ["session.expire"],
    ),
    "codes_as_json": (check_rule, {"domain": "a.example.com", "health_check": {"codes": ["2xx", 204]}}, []),
    "target": (check_target, TARGET, []),
    "target_weight": (check_target, {**TARGET, "weight": 101}, ["weight"]),
    "target_without_port": (check_target, {"address": "10.0.0.5"}, ["port"]),
    "target_misspelt": (check_target, {**TARGET, "wieght": 1}, ["wieght"]),
}


@pytest.mark.parametrize(("check", "document", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_by_key_path(check, document, expected):
    assert [spell(problem.path) for problem in check(document) if not problem.is_warning] == expected


def test_a_rule_is_checked_with_its_targets_and_its_listener():
    rule = {"domain": "a.example.com"}
    (twice,) = check_rule(rule, {}, [TARGET, TARGET])
    assert spell(twice.path) == "targets[1]"
    (beside,) = check_rule({**rule, "redirect": {"scheme": "https"}}, {}, [TARGET])
    assert spell(beside.path) == "redirect"
    sticky = {**rule, "session": {"expire": "1h", "same_site": "none"}}
    (insecure,) = check_rule(sticky, {"protocol": "http"}, [TARGET])
    assert spell(insecure.path) == "session.same_site"


def test_a_rule_without_targets_is_worth_a_warning():
    (warning,) = check_rule({"domain": "a.example.com"})
    assert (spell(warning.path), warning.is_warning) == ("targets", True)


def test_the_models_are_those_of_a_file():
    balancer, listener = {"name": "shop"}, {"port": 8443, "certificate": "web"}
    rule = {"domain": "a.example.com", "default": True, "health_check": {"codes": ["2xx"]}}
    whole = {**listener, "rules": ({**rule, "health_check": {"codes": ("2xx",)}, "targets": (TARGET,)},)}
    config = Config.model_validate({"load_balancers": ({**balancer, "listeners": (whole,)},)})
    (expected,) = config.load_balancers
    parsed = parse_listener(listener).model_copy(update={"rules": (parse_rule(rule, listener, [TARGET]),)})
    assert parse_load_balancer(balancer).model_copy(update={"listeners": (parsed,)}) == expected
    assert isinstance(parsed, Listener)
    assert isinstance(parsed.rules[0], Rule)
    assert parsed.rules[0].targets == (Target.model_validate(TARGET),)


def test_what_is_not_sound_is_no_model():
    with pytest.raises(FragmentFault, match="write a whole number") as fault:
        parse_rule({"domain": "a.example.com"}, {}, [{**TARGET, "weight": "1"}])
    assert [spell(problem.path) for problem in fault.value.problems] == ["targets[0].weight"]


def test_a_redirect_has_no_targets():
    assert "targets" not in rule_document({"domain": "a", "redirect": {}}, [])
    assert rule_document({"domain": "a"}, [])["targets"] == ()
