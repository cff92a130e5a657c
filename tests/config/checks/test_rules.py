"""Keys of rules that need or exclude each other, and the rule set as a whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clb.config.loader import Reading

AT = "load_balancers[0].listeners[0]."
RULE = "- domain: a.example\n  default: true\n"
TARGETS = "  targets: [{address: 10.0.0.1, port: 80}]\n"
# case: (rules, faults); the rules start in line 11, column 11
CASES = {
    "sound": (RULE + TARGETS, []),
    "no_default": (
        f"- domain: a.example\n{TARGETS}- domain: b.example\n{TARGETS}",
        ['10:9: rules: none of the 2 rules has "default: true"; exactly one must'],
    ),
    "two_defaults": (
        f"{RULE}{TARGETS}- domain: b.example\n{TARGETS}- domain: c.example\n  default: true\n{TARGETS}",
        [
            '17:22: rules[2].default: 2 rules have "default: true" (rules[0], rules[2]); exactly one must',
        ],
    ),
    "three_defaults": (
        f"{RULE}{TARGETS}- domain: b.example\n  default: true\n{TARGETS}"
        f"- domain: c.example\n  default: true\n{TARGETS}",
        [
            '15:22: rules[1].default: 3 rules have "default: true" (rules[0], rules[1], rules[2]); exactly one must',
            '18:22: rules[2].default: 3 rules have "default: true" (rules[0], rules[1], rules[2]); exactly one must',
        ],
    ),
    "default_is_no_truth_value": (
        f"- domain: a.example\n  default: yes\n{TARGETS}",
        ['12:22: rules[0].default: is "yes"; write true or false'],
    ),
    "a_rule_is_no_mapping": (
        f"- a.example\n- domain: b.example\n{TARGETS}",
        ['11:13: rules[0]: is "a.example"; write a mapping ("key: value" lines)'],
    ),
    "same_twice": (
        f"{RULE}{TARGETS}- domain: A.Example\n  url: /\n{TARGETS}",
        [
            "14:21: rules[1].domain: matches the same as rules[0] (a.example /); change one of them or remove it",
        ],
    ),
    "same_prefix_twice": (
        f"{RULE}  url: /a\n{TARGETS}- domain: a.example\n  url: ^~/a\n{TARGETS}",
        ["15:21: rules[1].domain: matches the same as rules[0] (a.example /a); change one of them or remove it"],
    ),
    "prefix_and_exact": (f"{RULE}  url: /a\n{TARGETS}- domain: a.example\n  url: =/a\n{TARGETS}", []),
    "no_destination": (RULE, ["11:13: rules[0].targets: is missing; a rule has targets or a redirect"]),
    "two_destinations": (
        f"{RULE}  redirect: {{host: b.example}}\n{TARGETS}",
        ["13:13: rules[0].redirect: stands beside targets; a rule has one of the two"],
    ),
    "redirect_with_target_keys": (
        f"{RULE}  redirect: {{host: b.example}}\n  scheduler: wrr\n  session: {{}}\n  health_check: {{}}\n"
        "  passive: {}\n  slow_start: 5s\n  all_dead: serve\n  pool: {}\n  retry: {}",
        [
            f"{line}:13: rules[0].{key}: means nothing in a rule that redirects; remove {key}"
            for line, key in enumerate(
                ("scheduler", "session", "health_check", "passive", "slow_start", "all_dead", "pool", "retry"), start=14
            )
        ],
    ),
    "session_with_least_conn": (
        f"{RULE}  scheduler: least_conn\n  session: {{expire: 1h}}\n{TARGETS}",
        [
            "14:31: rules[0].session.expire: sessions go with scheduler wrr only, not with least_conn; "
            "change one of the two"
        ],
    ),
    "session_with_maglev": (
        f"{RULE}  scheduler: maglev\n  session: {{expire: 1h}}\n{TARGETS}",
        ["14:31: rules[0].session.expire: sessions go with scheduler wrr only, not with maglev; change one of the two"],
    ),
    "hash_on": (f"{RULE}  scheduler: maglev\n  hash_on: {{header: X-User}}\n{TARGETS}", []),
    "hash_on_without_maglev": (
        f"{RULE}  hash_on: {{url: path}}\n{TARGETS}",
        ["13:13: rules[0].hash_on: goes with scheduler maglev only, not with wrr; change one of the two"],
    ),
    "hash_on_with_another_hash": (
        f"{RULE}  scheduler: ip_hash\n  hash_on: {{source: true}}\n{TARGETS}",
        ["14:13: rules[0].hash_on: goes with scheduler maglev only, not with ip_hash; change one of the two"],
    ),
    "hash_on_two_things": (
        f"{RULE}  scheduler: maglev\n  hash_on: {{url: full, cookie: cart}}\n{TARGETS}",
        ["14:23: rules[0].hash_on.url: stands beside cookie; a request is hashed on one of them"],
    ),
    "hash_on_no_name": (
        f"{RULE}  scheduler: maglev\n  hash_on: {{header: 'x user'}}\n{TARGETS}",
        ['14:31: rules[0].hash_on.header: "x user" is no field name; write one such as X-Api-Key'],
    ),
    "retry_timeout": (f"{RULE}  retry: {{on: [timeout, 503], timeout: 2s}}\n{TARGETS}", []),
    "retry_timeout_that_means_nothing": (
        f"{RULE}  retry: {{timeout: 2s}}\n{TARGETS}",
        [
            "13:21: rules[0].retry.timeout: means nothing unless an attempt that takes too long is followed by "
            "another: add timeout to on"
        ],
    ),
    "session_off_with_least_conn": (f"{RULE}  scheduler: least_conn\n  session: {{expire: 0s}}\n{TARGETS}", []),
    "session_with_bad_scheduler": (
        f"{RULE}  scheduler: leastconn\n  session: {{expire: 1h}}\n{TARGETS}",
        [
            '13:24: rules[0].scheduler: is "leastconn"; write wrr, least_conn, p2c_ewma, ip_hash or maglev '
            "(did you mean least_conn?)"
        ],
    ),
    "session_bad_duration": (
        f"{RULE}  scheduler: ip_hash\n  session: {{expire: 5}}\n{TARGETS}",
        ['14:31: rules[0].session.expire: is 5; write a duration with its unit, such as "5s"'],
    ),
    "health_timeout": (
        f"{RULE}  health_check: {{timeout: 5s}}\n{TARGETS}",
        ["13:37: rules[0].health_check.timeout: timeout (5s) must be less than interval (5s)"],
    ),
    "health_interval": (
        f"{RULE}  health_check: {{interval: 1s}}\n{TARGETS}",
        ["13:38: rules[0].health_check.interval: timeout (2s) must be less than interval (1s)"],
    ),
    "health_bad_interval": (
        f"{RULE}  health_check: {{interval: soon, timeout: 3s}}\n{TARGETS}",
        [
            '13:38: rules[0].health_check.interval: is "soon"; '
            'a duration is a number and a unit (ms, s, m, h, d), such as "4s" or "500ms"'
        ],
    ),
    "health_tcp": (
        f"{RULE}  health_check: {{type: tcp, path: /x, codes: [2xx]}}\n{TARGETS}",
        [
            "13:39: rules[0].health_check.path: means nothing with type: tcp; remove path or set type: http",
            "13:49: rules[0].health_check.codes: means nothing with type: tcp; remove codes or set type: http",
        ],
    ),
    "health_no_codes": (
        f"{RULE}  health_check: {{codes: []}}\n{TARGETS}",
        ["13:35: rules[0].health_check.codes: is empty, so nothing would be healthy; list codes such as 2xx"],
    ),
    "ejection_over_its_maximum": (
        f"{RULE}  passive: {{ejection: 10m}}\n{TARGETS}",
        ["13:33: rules[0].passive.ejection: ejection (10m) is more than ejection_maximum (5m)"],
    ),
    "ejection_maximum_below": (
        f"{RULE}  passive: {{ejection_maximum: 1s}}\n{TARGETS}",
        ["13:41: rules[0].passive.ejection_maximum: ejection (30s) is more than ejection_maximum (1s)"],
    ),
    "ejection_illegible": (
        f"{RULE}  passive: {{ejection: 5, ejection_maximum: 1s}}\n{TARGETS}",
        ['13:33: rules[0].passive.ejection: is 5; write a duration with its unit, such as "5s"'],
    ),
    "pool_idle": (
        f"{RULE}  pool: {{connections: 8, idle: 9}}\n{TARGETS}",
        ["13:42: rules[0].pool.idle: is 9, more than connections (8)"],
    ),
    "target_twice": (
        f"{RULE}  targets:\n    - {{address: 'FD00::1', port: 80}}\n    - {{address: 'fd00:0::1', port: 80}}\n"
        "    - {address: 'fd00::1', port: 81}\n",
        ['15:17: rules[0].targets[1]: "fd00:0::1" port 80 is targets[0] already; give it a weight instead'],
    ),
    "bad_targets_are_not_compared": (
        f"{RULE}  targets: [{{address: 'a b', port: 80}}, {{address: 'a b', port: 80}}, {{address: x}}]\n",
        [
            '13:33: rules[0].targets[0].address: "a b" is not a host name; write one such as "app.example.com"',
            '13:61: rules[0].targets[1].address: "a b" is not a host name; write one such as "app.example.com"',
            "13:79: rules[0].targets[2].port: is missing; it has no default",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_rules(rule_faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert [fault.replace(AT, "") for fault in rule_faults(text)] == expected


def test_cookies_for_other_sites_need_https(faults: Callable[[str], list[str]]) -> None:
    found = faults(
        "load_balancers:\n  - listeners:\n      - protocol: http\n        port: 80\n        rules:\n"
        "          - {domain: a.b, default: true, targets: [], session: {same_site: none}}\n"
    )
    assert found == [
        "6:76: load_balancers[0].listeners[0].rules[0].session.same_site: "
        "none needs https: browsers drop such cookies on http"
    ]


@pytest.mark.parametrize(
    ("keys", "is_warned_of"),
    [
        ("scheduler: ip_hash, slow_start: 5s", True),
        ("scheduler: ip_hash, slow_start: 0s", False),
        ("scheduler: ip_hash", False),
        ("scheduler: ip_hash, slow_start: soon", False),
        ("slow_start: 5s", False),
    ],
)
def test_a_hash_does_not_ramp(reading: Callable[[str], Reading], keys: str, is_warned_of: bool) -> None:
    found = reading(
        "load_balancers:\n  - listeners:\n      - protocol: http\n        port: 80\n        rules:\n"
        f"          - {{domain: a.b, default: true, targets: [{{address: 10.0.0.1, port: 80}}], {keys}}}\n"
    )
    assert any("has no effect with scheduler ip_hash" in each.message for each in found.warnings) == is_warned_of
