"""Keys of caps and rates: grammar, and what needs or excludes each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clb.config.loader import Reading

CASES = {  # case: (keys of the listener, key and message of the fault)
    "sound": ("rate_limits: [{rate: 10/s}, {rate: 600/m, burst: 5, key: header, header: X-Api-Key}]", None),
    "no_rate": ("rate_limits: [{burst: 5}]", "rate_limits[0].rate: is missing"),
    "rate_without_unit": ("rate_limits: [{rate: 10}]", 'rate: is 10; write a rate with its unit, such as "10/s"'),
    "rate_of_text": ("rate_limits: [{rate: fast}]", "a rate is a whole number per s, m or h"),
    "rate_of_days": ("rate_limits: [{rate: 10/d}]", "a rate is a whole number per s, m or h"),
    "rate_of_nothing": ("rate_limits: [{rate: 0/s}]", "rate: is 0/s; write 1/h to 1000000/s"),
    "truth": ("rate_limits: [{rate: true}]", 'write a rate with its unit, such as "100/s"'),
    "burst_of_nothing": ("rate_limits: [{rate: 1/s, burst: 0}]", "burst: is 0; write a whole number from 1"),
    "header_without_name": ("rate_limits: [{rate: 1/s, key: header}]", "header: is missing; name the field"),
    "name_without_header": ("rate_limits: [{rate: 1/s, header: X-A}]", "header: means nothing with key: source"),
    "no_field_name": ("rate_limits: [{rate: 1/s, key: header, header: X A}]", '"X A" is no field name; write one'),
    "prefix_for_all": ("rate_limits: [{rate: 1/s, key: all, prefix_v6: 48}]", "prefix_v6: means nothing with key: all"),
    "unknown_key": ("rate_limits: [{rate: 1/s, by: source}]", "by: unknown key"),
    "cap_as_text": ("limits: {accept_rate: 10/s}", "accept_rate"),
    "empty_allow": ("access: {allow: []}", "access.allow: is empty, which lets everybody in"),
    "no_network": ("access: {deny: [10.0.0.1/8]}", "did you mean 10.0.0.0/8?"),
    "no_bound": ("in_flight: {queue: 5}", "in_flight.requests: is missing"),
    "no_wait": ("in_flight: {requests: 5, wait: 0s}", "in_flight.wait: is 0s; write 100ms to 60s"),
    "no_connections": ("limits: {connections_per_source: 0}", "connections_per_source: is 0; write a whole number"),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_a_listeners_keys(listener_faults: Callable[[str], list[str]], text: str, expected: str | None) -> None:
    found = listener_faults(f"certificate: web\nrules: [{{domain: a.b, default: true, targets: []}}]\n{text}\n")
    if expected is None:
        assert found == []
    else:
        (fault,) = found
        assert expected in fault


def test_a_rules_keys(rule_faults: Callable[[str], list[str]]) -> None:
    targets = "  targets: [{address: 10.0.0.1, port: 80}]\n"
    (fault,) = rule_faults(f"- domain: a.b\n  default: true\n{targets}  rate_limits: [{{rate: 1/s, key: header}}]\n")
    assert "rules[0].rate_limits[0].header: is missing" in fault


def test_a_redirect_has_no_bound(rule_faults: Callable[[str], list[str]]) -> None:
    (fault,) = rule_faults(
        "- domain: a.b\n  default: true\n  redirect: {host: c.d}\n"
        "  rate_limits: [{rate: 1/s}]\n  in_flight: {requests: 1}\n"
    )
    assert "in_flight: means nothing in a rule that redirects" in fault


LOCKED_OUT = {  # case: (access, whether somebody allowed is denied)
    "same": ("{allow: [10.0.0.0/8], deny: [10.0.0.0/8]}", True),
    "wider": ("{allow: [10.0.0.0/8], deny: [192.0.2.0/24, 0.0.0.0/0]}", True),
    "v6": ('{allow: ["2001:db8::/64"], deny: ["2001:db8::/32"]}', True),
    "narrower": ("{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}", False),
    "other_version": ('{allow: [10.0.0.0/8, "::1"], deny: ["2001:db8::/32", 192.0.2.1]}', False),
}


@pytest.mark.parametrize(("access", "is_warned_of"), LOCKED_OUT.values(), ids=LOCKED_OUT)
def test_whom_deny_locks_out(reading: Callable[[str], Reading], access: str, is_warned_of: bool) -> None:
    found = reading(
        "load_balancers:\n  - listeners:\n      - protocol: http\n        port: 80\n        rules:\n"
        f"          - {{domain: a.b, default: true, targets: [], access: {access}}}\n"
    )
    assert any("is never let in" in each.message for each in found.warnings) is is_warned_of


def test_what_is_not_a_network_is_said_once(faults: Callable[[str], list[str]]) -> None:
    found = faults(
        "load_balancers:\n  - listeners:\n      - protocol: http\n        port: 80\n        rules:\n"
        "          - {domain: a.b, default: true, targets: [], access: {allow: [nowhere, 5], deny: [10.0.0.0/8]}}\n"
    )
    assert len(found) == 2


def test_the_nodes_limits(faults: Callable[[str], list[str]]) -> None:
    (fault,) = faults("node: {limits: {loop_lag: 200}}\nload_balancers: []\n")
    assert 'node.limits.loop_lag: is 200; write a duration with its unit, such as "200s"' in fault
