"""Keys of a listener that need or exclude each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clb.config.loader import Reading

AT = "load_balancers[0].listeners[0]."
# case: (keys of the listener, faults); the keys start in line 9, column 9
CASES = {
    "one_way": ("certificate: web", []),
    "mutual": ("certificate: web\nssl_mode: mutual\nca_certificate: partners", []),
    "mutual_with_all": (
        "certificate: web\nssl_mode: mutual\nca_certificate: partners\nverify_client: optional\ncrl: x.crl\n"
        "verify_depth: 2\nmin_client_key_bits: 1024",
        [],
    ),
    "sni": ("sni: true\ncertificates: [web, api]", []),
    "http": ("protocol: http", []),
    "one_way_with_ca": (
        "certificate: web\nca_certificate: partners",
        [
            "10:9: ca_certificate: a one_way listener checks no client certificate; "
            "set ssl_mode: mutual or remove ca_certificate"
        ],
    ),
    "one_way_with_client_keys": (
        "certificate: web\nssl_mode: one_way\nverify_client: required\ncrl: x\nverify_depth: 2\n"
        "min_client_key_bits: 1024",
        [
            f"{line}:9: {key}: a one_way listener checks no client certificate; set ssl_mode: mutual or remove {key}"
            for line, key in enumerate(("verify_client", "crl", "verify_depth", "min_client_key_bits"), start=11)
        ],
    ),
    "mutual_without_ca": (
        "certificate: web\nssl_mode: mutual",
        ["8:9: ca_certificate: is missing; ssl_mode: mutual checks clients against a CA certificate"],
    ),
    "misspelt_mode_says_nothing_else": (
        "certificate: web\nssl_mode: mutal\nca_certificate: partners",
        ['10:19: ssl_mode: is "mutal"; write one_way or mutual (did you mean mutual?)'],
    ),
    "https_without_certificate": (
        "port: 8443",
        ["8:9: certificate: is missing; an https listener shows a server certificate"],
    ),
    "sni_without_certificates": (
        "sni: true",
        ["8:9: certificates: is missing; an https listener shows a server certificate"],
    ),
    "sni_with_one": (
        "sni: true\ncertificate: web",
        ["10:9: certificate: with sni: true write certificates: [name, ...]"],
    ),
    "several_without_sni": (
        "certificates: [web, api]",
        ["9:9: certificates: several certificates need sni: true; add it, or write certificate: name"],
    ),
    "both": (
        "certificate: web\ncertificates: [web]",
        ["10:9: certificates: stands beside certificate; a listener has one of the two, remove certificates"],
    ),
    "both_with_sni": (
        "sni: true\ncertificate: web\ncertificates: [web]",
        ["10:9: certificate: stands beside certificates; a listener has one of the two, remove certificate"],
    ),
    "sni_no_truth_value": (
        "sni: on\ncertificates: [web, api]",
        ['9:14: sni: is "on"; write true or false'],
    ),
    "no_certificates": (
        "sni: true\ncertificates: []",
        ["10:23: certificates: is empty; list one certificate or more, the default first"],
    ),
    "certificate_twice": (
        "sni: true\ncertificates: [web, api, web]",
        ['10:23: certificates: lists "web" 2 times; once is enough'],
    ),
    "http_with_tls": (
        "protocol: http\nport: 80\ncertificate: web\nssl_mode: one_way\nsni: false\ntls_policy: modern\n"
        "ca_certificate: partners",
        [
            f'{line}:9: {key}: an http listener has no TLS; remove {key} or set "protocol: https"'
            for line, key in (
                (11, "certificate"),
                (12, "ssl_mode"),
                (13, "sni"),
                (14, "tls_policy"),
                (15, "ca_certificate"),
            )
        ],
    ),
    "misspelt_protocol_says_nothing_else": (
        "protocol: htps",
        ['9:19: protocol: is "htps"; write https or http (did you mean https?)'],
    ),
    "uri_above_head": (
        "certificate: web\nlimits: {uri_bytes: 16KiB, header_bytes: 8KiB}",
        ["10:29: limits.uri_bytes: uri_bytes (16KiB) is larger than header_bytes (8KiB), of which it is a part"],
    ),
    "head_below_default_uri": (
        "certificate: web\nlimits: {header_bytes: 4096}",
        ["10:32: limits.header_bytes: uri_bytes (8KiB) is larger than header_bytes (4KiB), of which it is a part"],
    ),
    "bad_sizes_are_not_compared": (
        "certificate: web\nlimits: {uri_bytes: x, header_bytes: [1]}",
        [
            '10:29: limits.uri_bytes: is "x"; a size is a number and a unit (B, KiB, MiB, GiB, TiB), such as "64KiB"',
            '10:46: limits.header_bytes: is a list; write a size such as "64KiB"',
        ],
    ),
    "proxy_protocol_from_nobody": (
        "certificate: web\nproxy_protocol: {from: []}",
        ["10:32: proxy_protocol.from: is empty, so no client could connect; list the networks of the proxies"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_listener(listener_faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert [fault.replace(AT, "") for fault in listener_faults(text)] == expected


def test_an_http_listener_on_the_default_port_gets_a_warning(reading: Callable[[str], Reading], tmp_path: Path) -> None:
    found = reading(
        "load_balancers:\n  - listeners:\n"
        "      - {protocol: http, rules: [{domain: a.b, default: true, targets: []}]}\n"
    )
    assert found.config is not None
    assert [str(warning).removeprefix(f"{tmp_path}/clb.yaml:") for warning in found.warnings] == [
        "3:9: load_balancers[0].listeners[0].port: 443 is the default port of http listeners too; "
        "write port: 80 or the port that is meant",
        "3:72: load_balancers[0].listeners[0].rules[0].targets: no targets: every request gets 503",
    ]


def test_a_listener_without_rules_gets_a_warning(reading: Callable[[str], Reading]) -> None:
    found = reading("load_balancers:\n  - listeners:\n      - {protocol: http, port: 80}\n")
    assert found.config is not None
    assert [warning.message for warning in found.warnings] == ["no rules: every request gets 404"]
