"""FAQ 14: "What can I do when a certificate error occurs?"

It may be a wrong private key: clb says so, and whose it is. The right one replaces it.
"""

from __future__ import annotations

import trustme
from faq_node import CERTIFICATES, Issued, Issuer, leaf


def test_a_wrong_key_is_named_and_changes_nothing(node):
    issuer = Issuer()
    first, second, third = issuer.issue(), issuer.issue(), issuer.issue()
    known, other = node.upload("web", first), node.upload("other", second)
    ports = node.serve(shop={"https": {"certificate": known["id"]}})
    context = issuer.context()
    path = f"{CERTIFICATES}/{known['id']}/replace"

    wrong = Issued(third.certificate, second.private_key)
    refusal = node.refusal("POST", path, wrong.upload, **{"If-Match": "*"})
    assert refusal.code == "key_mismatch"
    assert f'it is the key of certificate "{other["name"]}"' in str(refusal)
    assert "PRIVATE KEY" not in str(refusal)
    assert leaf(ports["https"], context) == first.fingerprint
    assert node.api.get(f"{CERTIFICATES}/{known['id']}")["generation"] == 1

    told = node.replace(known, third)
    assert leaf(ports["https"], context) == third.fingerprint
    answer = node.api.ask("POST", f"{CERTIFICATES}/{known['id']}/rollback", {}, {"If-Match": f'"{told["version"]}"'})
    assert answer["certificate"]["generation"] == 3
    assert leaf(ports["https"], context) == first.fingerprint


def test_a_swap_that_would_break_clients_is_refused_by_name(node):
    issuer = Issuer()
    rsa, ecdsa = issuer.issue(key_type=trustme.KeyType.RSA), issuer.issue()
    known = node.upload("web", rsa)
    ports = node.serve(shop={"https": {"certificate": known["id"]}})
    path = f"{CERTIFICATES}/{known['id']}/replace"
    refusal = node.refusal("POST", path, ecdsa.upload, **{"If-Match": "*"})
    assert refusal.code == "rehearsal_failed"
    assert any("shop/https" in line and "TLS 1.2 with RSA suites" in line for line in refusal.details)
    assert leaf(ports["https"], issuer.context()) == rsa.fingerprint
    node.replace(known, ecdsa, force=True)
    assert leaf(ports["https"], issuer.context()) == ecdsa.fingerprint
