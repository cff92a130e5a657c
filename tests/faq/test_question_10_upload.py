"""FAQ 10: "How to upload a certificate?"

By calling an API (or through the console, which calls the same). The command does it as well.
"""

from __future__ import annotations

import json
import subprocess
import sys

from clb_process import COMMAND
from faq_node import CERTIFICATES, Issuer, leaf


def clb(node, *words):
    command = [*COMMAND, *words, "--socket", str(node.api.path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_by_the_api_and_by_the_command(node, tmp_path):
    issuer = Issuer()
    by_api, by_command = issuer.issue(), issuer.issue()
    known = node.upload("by-api", by_api)
    (tmp_path / "chain.pem").write_text(by_command.certificate)
    (tmp_path / "key.pem").write_text(by_command.private_key)
    words = ["--certificate", str(tmp_path / "chain.pem"), "--key", str(tmp_path / "key.pem")]
    assert "sound: ECDSA P-256" in clb(node, "cert", "check", *words)
    assert json.loads(clb(node, "cert", "list", "--json"))["certificates"][0]["name"] == "by-api"
    clb(node, "cert", "upload", "by-command", *words)
    (other,) = node.api.get(f"{CERTIFICATES}?name=by-command")["certificates"]

    ports = node.serve(shop={"a": {"certificate": known["id"]}, "b": {"certificate": other["id"]}})
    context = issuer.context()
    assert leaf(ports["a"], context) == by_api.fingerprint
    assert leaf(ports["b"], context) == by_command.fingerprint
    assert "a (file" in clb(node, "cert", "where", "by-api")
    assert sys.executable in COMMAND
