"""FAQ 8: "How many HTTPS certificates can a listener bind to?"

One server certificate; with mutual authentication one server certificate and one CA certificate.
"""

from __future__ import annotations

import pytest
import trustme
from faq_node import Issuer, leaf

from clb.cli.node_client import NodeFault


def test_one_server_certificate_and_one_ca_if_mutual(node):
    issuer, partners = Issuer(), trustme.CA()
    issued = issuer.issue()
    server, other = node.upload("web", issued), node.upload("other", issuer.issue())
    authority = node.upload_ca("partners", partners)

    refused = {
        "two": {"certificates": [server["id"], other["id"]]},
        "none": {},
        "mutual without a CA": {"certificate": server["id"], "ssl_mode": "mutual"},
        "a CA although one-way": {"certificate": server["id"], "ca_certificate": authority["id"]},
        "a CA as what is shown": {"certificate": authority["id"]},
    }
    for keys in refused.values():
        with pytest.raises(NodeFault) as caught:
            node.serve(shop={"https": keys})
        assert caught.value.code == "refused"

    ports = node.serve(
        shop={
            "one_way": {"certificate": server["id"]},
            "mutual": {"certificate": server["id"], "ca_certificate": authority["id"], "ssl_mode": "mutual"},
        }
    )
    context = issuer.context()
    partners.issue_cert("alice@partner.example").configure_cert(context)
    assert leaf(ports["one_way"], context) == leaf(ports["mutual"], context) == issued.fingerprint
