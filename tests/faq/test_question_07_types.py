"""FAQ 7: "What types of certificates does CLB currently support?"

Server certificates with their key, CA certificates without; PEM only.
"""

from __future__ import annotations

import base64
import ssl

import pytest
import trustme
from faq_node import CERTIFICATES, Issuer, leaf, status


def test_a_server_certificate_and_a_ca_certificate(node, material):
    issuer, partners = Issuer(), trustme.CA()
    issued = issuer.issue()
    server = node.upload("web", issued)
    authority = node.upload_ca("partners", partners)
    assert (server["type"], authority["type"]) == ("server", "ca")
    ports = node.serve(
        shop={
            "https": {"certificate": server["id"]},
            "mutual": {"certificate": server["id"], "ca_certificate": authority["id"], "ssl_mode": "mutual"},
        }
    )
    context = issuer.context()
    assert leaf(ports["https"], context) == issued.fingerprint
    assert status(ports["https"], context) == 200
    with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
        status(ports["mutual"], context)
    partners.issue_cert("alice@partner.example").configure_cert(context)
    assert status(ports["mutual"], context) == 200


def test_each_type_with_what_belongs_to_it_and_pem_only(node):
    issued = Issuer().issue()
    der = base64.b64encode(ssl.PEM_cert_to_DER_cert(issued.certificate)).decode()
    refused = {
        "no key": ({"name": "a", "certificate": issued.certificate}, "key_missing"),
        "a CA with a key": (
            {"name": "a", "type": "ca", "certificate": trustme.CA().cert_pem.bytes().decode(),
             "private_key": issued.private_key},
            "key_not_wanted",
        ),
        "a server as a CA": ({"name": "a", "type": "ca", "certificate": issued.certificate}, "not_ca"),
        "base64 of DER": ({"name": "a", "certificate": der, "private_key": issued.private_key}, "not_pem"),
    }  # fmt: skip
    for body, code in refused.values():
        assert node.refusal("POST", CERTIFICATES, body).code == code
    assert node.api.get(CERTIFICATES)["certificates"] == []
