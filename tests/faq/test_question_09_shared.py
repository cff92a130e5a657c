"""FAQ 9: "How many cloud load balancers and listeners can one certificate be applied to?"

To one or more load balancers, and to several listeners.
"""

from __future__ import annotations

from faq_node import CERTIFICATES, Issuer, leaf


def test_one_certificate_for_three_listeners_of_two_load_balancers(node):
    issuer = Issuer()
    first, second = issuer.issue(), issuer.issue()
    known = node.upload("web", first)
    bound = {"certificate": known["id"]}
    ports = node.serve(shop={"a": bound, "b": bound}, api={"c": bound})
    context = issuer.context()
    assert {leaf(port, context) for port in ports.values()} == {first.fingerprint}
    uses = node.api.get(f"{CERTIFICATES}/{known['id']}/where")["uses"]
    assert {(use["load_balancer"], use["listener"]) for use in uses} == {("shop", "a"), ("shop", "b"), ("api", "c")}

    # What is bound cannot be removed, and one call replaces it everywhere.
    refusal = node.refusal("DELETE", f"{CERTIFICATES}/{known['id']}", **{"If-Match": "*"})
    assert refusal.code == "certificate_bound"
    assert len(refusal.details) == 3
    node.replace(known, second)
    assert {leaf(port, context) for port in ports.values()} == {second.fingerprint}
