"""Names that must differ, references that must lead somewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

REFERENCES = {
    "right": ("certificate: web\nssl_mode: mutual\nca_certificate: partners", []),
    "misspelt": (
        "certificate: wbe",
        ['9:22: certificate: no certificate is called "wbe"; did you mean "web"?'],
    ),
    "misspelt_ca": (
        "certificate: web\nssl_mode: mutual\nca_certificate: partner",
        ['11:25: ca_certificate: no certificate is called "partner"; did you mean "partners"?'],
    ),
    "unknown": (
        "certificate: zzz",
        ['9:22: certificate: no certificate is called "zzz"; declare it under "certificates"'],
    ),
    "misspelt_name_of_another_type": (
        "certificate: partnrs",
        ['9:22: certificate: no certificate is called "partnrs"; did you mean "partners"?'],
    ),
    "ca_as_server": (
        "certificate: partners",
        ['9:22: certificate: "partners" is a CA certificate; a listener shows one of type server'],
    ),
    "server_as_ca": (
        "certificate: web\nssl_mode: mutual\nca_certificate: web",
        ['11:25: ca_certificate: "web" is a server certificate; clients are checked against one of type ca'],
    ),
    "one_of_several": (
        "sni: true\ncertificates: [web, ap1, 3]",
        [
            '10:29: certificates[1]: no certificate is called "ap1"; did you mean "api"?',
            '10:34: certificates[2]: is 3, which is no text; write it in quotes: "3"',
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), REFERENCES.values(), ids=REFERENCES)
def test_reference(listener_faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert [fault.replace("load_balancers[0].listeners[0].", "") for fault in listener_faults(text)] == expected


CERTIFICATES = {
    "server_without_key": (
        "web: {type: server, certificate: w}",
        ["2:8: certificates.web.private_key: is missing; a server certificate needs its private key"],
    ),
    "ca_with_key": (
        "ca: {type: ca, certificate: w, private_key: k}",
        [
            "2:34: certificates.ca.private_key: a CA certificate only checks clients and needs no key; "
            "remove private_key"
        ],
    ),
    "type": (
        "ca: {type: root, certificate: w, private_key: k}",
        ['2:14: certificates.ca.type: is "root"; write server or ca'],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificate(faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert faults(f"certificates:\n  {text}\n") == expected


def test_a_reference_to_a_broken_certificate_is_no_second_fault(faults: Callable[[str], list[str]]) -> None:
    found = faults("certificates: {web: 3}\nload_balancers:\n  - listeners: [{certificate: web, rules: []}]\n")
    assert found == ['1:21: certificates.web: is 3; write a mapping ("key: value" lines)']


def test_load_balancers_and_listeners_differ_by_name(faults: Callable[[str], list[str]]) -> None:
    found = faults(
        "load_balancers:\n"
        "  - {name: lb-2, listeners: [{name: x, protocol: http, port: 1}, {name: x, protocol: http, port: 2}]}\n"
        "  - listeners: [{name: http-4, protocol: http, port: 3}, {protocol: http, port: 4}]\n"
        "  - {name: 5}\n"
    )
    assert found == [
        '2:73: load_balancers[0].listeners[1].name: the listener at position 1 is called "x" too; '
        "give each its own name",
        '3:5: load_balancers[1].name: the load balancer at position 1 is called "lb-2" too; give each its own name',
        '3:58: load_balancers[1].listeners[1].name: the listener at position 1 is called "http-4" too; '
        "give each its own name",
        '4:12: load_balancers[2].name: is 5, which is no text; write it in quotes: "5"',
    ]
