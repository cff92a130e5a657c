"""FAQ 11: "Is a certificate region-specific?"

No: it is deployed wherever it is used.
"""

from __future__ import annotations

from faq_node import CERTIFICATES, Issuer, leaf


def test_a_node_of_two_regions_shows_it_for_the_load_balancers_of_both(node):
    issuer = Issuer()
    first, second = issuer.issue(), issuer.issue()
    known = node.upload("web", first)
    bound = {"certificate": known["id"]}
    # The regions of a node are read at its start or by a reload.
    node.document["node"]["region"] = ["north", "south"]
    try:
        ports = node.serve(n={"a": bound, "b": bound, "region": "north"}, s={"c": bound, "region": "south"})
        context = issuer.context()
        assert {leaf(port, context) for port in ports.values()} == {first.fingerprint}
        node.replace(known, second)
        assert {leaf(port, context) for port in ports.values()} == {second.fingerprint}
    finally:
        del node.document["node"]["region"]


def test_one_certificate_for_load_balancers_of_several_regions(node):
    issuer = Issuer()
    issued = issuer.issue()
    known = node.upload("web", issued)
    assert not any("region" in word for word in known)
    bound = {"certificate": known["id"]}
    ports = node.serve(
        here={"a": bound, "region": "local"},
        both={"b": bound, "region": ["local", "south"]},
        elsewhere={"c": bound, "region": "south"},
    )
    context = issuer.context()
    assert leaf(ports["a"], context) == leaf(ports["b"], context) == issued.fingerprint
    uses = node.api.get(f"{CERTIFICATES}/{known['id']}/where")["uses"]
    assert {(use["load_balancer"], use["served_here"]) for use in uses} == {
        ("here", True),
        ("both", True),
        ("elsewhere", False),
    }
