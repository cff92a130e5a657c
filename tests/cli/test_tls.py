"""`clb tls audit` from a file to its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner, Result

from clb.cli import tls
from clb.cli.tls import app
from clb.tls.contexts import ContextFault, Identity

AUTHORITY = trustme.CA()
RSA = AUTHORITY.issue_cert("shop.example.com", "www.example.com", key_type=trustme.KeyType.RSA)
ECDSA = AUTHORITY.issue_cert("shop.example.com", key_type=trustme.KeyType.ECDSA)

RULES = """
        rules:
          - domain: shop.example.com
            default: true
            targets: [{address: 127.0.0.1, port: 9001}]
"""
CONFIGURATION = f"""
certificates:
  rsa: {{type: server, certificate: rsa.pem, private_key: rsa.key}}
  ecdsa: {{type: server, certificate: ecdsa.pem, private_key: ecdsa.key}}
  clients: {{type: ca, certificate: ca.pem}}
load_balancers:
  - name: shop
    listeners:
      - name: https
        sni: true
        certificates: [rsa, ecdsa]{RULES}
      - name: plain
        port: 80
        protocol: http{RULES}
  - name: bank
    listeners:
      - name: https
        port: 444
        tls_policy: modern
        ssl_mode: mutual
        ca_certificate: clients
        certificate: ecdsa{RULES}
"""


@pytest.fixture
def audit(tmp_path: Path):
    """Run the command on the configuration above."""
    for name, issued in {"rsa": RSA, "ecdsa": ECDSA}.items():
        (tmp_path / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        (tmp_path / f"{name}.key").write_bytes(issued.private_key_pem.bytes())
        (tmp_path / f"{name}.key").chmod(0o600)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def run(*arguments: str, configuration: str = CONFIGURATION) -> Result:
        (tmp_path / "clb.yaml").write_text(configuration)
        return CliRunner().invoke(app, ["audit", "--config", str(tmp_path / "clb.yaml"), *arguments])

    return run


def test_text(audit) -> None:
    result = audit("--listener", "shop/https")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "listener shop/https: policy documented, certificates RSA + ECDSA"
    assert "    TLSv1    ECDHE-RSA-AES128-SHA" in lines
    assert "  suites that negotiate: 62 of 80" in lines
    assert "    TLSv1.2  DHE-RSA-AES128-GCM-SHA256" in lines
    assert "    TLSv1.3  TLS_CHACHA20_POLY1305_SHA256" in lines
    reasons = [
        line.strip().partition(",")[0] for line in lines[lines.index("  suites that do not: 18") :] if ": " in line
    ]
    assert reasons == ["suites that do not: 18", "12: needs a DSA certificate", "6: needs SRP"]


def test_every_listener_as_json(audit) -> None:
    result = audit("--json")
    assert result.exit_code == 0, result.output
    shop, bank = json.loads(result.stdout)
    assert (shop["listener"], shop["policy"], shop["key_types"]) == ("shop/https", "documented", ["RSA", "ECDSA"])
    assert (bank["listener"], bank["policy"], bank["key_types"]) == ("bank/https", "modern", ["ECDSA"])
    assert sum(suite["negotiated"] is not None for suite in bank["suites"]) == 3
    refused = bank["versions"][0]
    assert (refused["name"], refused["negotiated"], refused["reason"]) == ("TLSv1", None, "unsupported_version")
    assert refused["explanation"]


def test_certificate_of_a_name(audit) -> None:
    result = audit("--json", "--listener", "shop/https", "--server-name", "www.example.com")
    assert json.loads(result.stdout)[0]["key_types"] == ["RSA"]


def test_name_of_two_listeners_means_both(audit) -> None:
    assert len(json.loads(audit("--json", "--listener", "https").stdout)) == 2


@pytest.mark.parametrize("name", ["nobody", "plain"])
def test_no_such_listener(audit, name) -> None:
    result = audit("--listener", name)
    assert result.exit_code == 1
    assert result.stderr == f"clb: no https listener {name}; this node serves: shop/https, bank/https\n"


def test_faults_of_the_file(audit) -> None:
    result = audit(configuration=CONFIGURATION.replace("tls_policy: modern", "tls_policy: modem"))
    assert result.exit_code == 1
    assert "clb.yaml:" in result.stderr
    assert "tls_policy" in result.stderr


def test_certificate_that_the_policy_refuses(audit, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise ContextFault("certificate", "its key is too small", Identity(b"", b"", ("a.example.com",), "RSA"))

    monkeypatch.setattr(tls, "build_contexts", refuse)
    result = audit("--listener", "shop/https")
    assert result.exit_code == 1
    assert result.stderr == "clb: listener shop/https: certificate for a.example.com: its key is too small\n"
