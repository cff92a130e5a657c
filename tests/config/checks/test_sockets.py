"""Which listeners cannot stand beside each other on one node."""

from __future__ import annotations

from collections.abc import Callable

import pytest

A = "load_balancers[0].listeners[0]"
CASES = {
    "same": (("127.0.0.1", 80), ("127.0.0.1", 80), f"127.0.0.1:80 is taken by {A} (127.0.0.1:80); choose another port"),
    "other_port": (("127.0.0.1", 80), ("127.0.0.1", 81), None),
    "other_address": (("127.0.0.1", 80), ("127.0.0.2", 80), None),
    "wildcard_first": (("0.0.0.0", 80), ("127.0.0.1", 80), f"127.0.0.1:80 is taken by {A} (0.0.0.0:80)"),
    "wildcard_second": (("127.0.0.1", 80), ("0.0.0.0", 80), f"0.0.0.0:80 is taken by {A} (127.0.0.1:80)"),
    "ipv6_same": (("::1", 80), ("0::1", 80), f"[::1]:80 is taken by {A} ([::1]:80)"),
    "ipv6_wildcard": (("::", 80), ("::1", 80), f"[::1]:80 is taken by {A} ([::]:80)"),
    "ipv6_wildcard_takes_ipv4": (("::", 80), ("0.0.0.0", 80), f"0.0.0.0:80 is taken by {A} ([::]:80)"),
    "ipv4_wildcard_leaves_ipv6": (("0.0.0.0", 80), ("::1", 80), None),
    "management": (("127.0.0.1", 80), ("0.0.0.0", 9443), "0.0.0.0:9443 is taken by admin (127.0.0.1:9443)"),
}


def document(first: tuple[str, int], second: tuple[str, int], regions: tuple[str, str] = ("local", "local")) -> str:
    text = "load_balancers:\n"
    for name, (address, port), region in zip("ab", (first, second), regions, strict=True):
        text += (
            f"  - {{name: {name}, region: {region}, listeners: [{{address: '{address}', protocol: http, port: {port}, "
            f"rules: [{{domain: x.y, default: true, targets: []}}]}}]}}\n"
        )
    return text


@pytest.mark.parametrize(("first", "second", "message"), CASES.values(), ids=CASES)
def test_sockets(
    faults: Callable[[str], list[str]], first: tuple[str, int], second: tuple[str, int], message: str | None
) -> None:
    found = faults(document(first, second))
    assert len(found) == (message is not None), found
    assert message is None or f"load_balancers[1].listeners[0].port: {message}" in found[0]


REGIONS = {
    "apart": (("local", "far"), 0),
    "shared": (("[local, far]", "far"), 1),
    "apart_lists": (("[local, far]", "[north]"), 0),
}


@pytest.mark.parametrize(("regions", "count"), REGIONS.values(), ids=REGIONS)
def test_regions_never_meet_on_one_node(
    faults: Callable[[str], list[str]], regions: tuple[str, str], count: int
) -> None:
    assert len(faults(document(("::", 80), ("::", 80), regions))) == count


NODES = {"one": ("local", 0), "both": ("[local, far]", 1), "other": ("[north]", 0)}


@pytest.mark.parametrize(("node", "count"), NODES.values(), ids=NODES)
def test_regions_of_one_node_meet(faults: Callable[[str], list[str]], node: str, count: int) -> None:
    text = document(("::", 80), ("::", 80), ("local", "far"))
    assert len(faults(f"node: {{region: {node}}}\n{text}")) == count


def test_the_default_socket_counts(faults: Callable[[str], list[str]]) -> None:
    listener = "{certificate: web, rules: [{domain: x.y, default: true, targets: []}]}"
    found = faults(
        "certificates:\n  web: {type: server, certificate: w, private_key: k}\n"
        f"load_balancers:\n  - name: a\n    listeners: [{listener}]\n  - name: b\n    listeners: [{listener}]\n"
    )
    assert found == [
        "7:17: load_balancers[1].listeners[0].port: 0.0.0.0:443 is taken by load_balancers[0].listeners[0] "
        "(0.0.0.0:443); choose another port or address"
    ]


def test_what_is_no_socket_is_not_compared(faults: Callable[[str], list[str]]) -> None:
    bad = "{address: here, protocol: http, port: 80}, {address: 7, protocol: http, port: 81, name: x}"
    found = faults(f"load_balancers:\n  - listeners: [{bad}, {{protocol: http, port: x, name: y}}]\n")
    assert len(found) == 3
    assert not any("taken" in fault for fault in found)
