"""`clb admin fingerprint`, and the management address in `clb status`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli.main import app
from clb.control.node import AdminTls

TLS = AdminTls(True, "ab" * 32, "sha256//AAAA", ("clb-1", "localhost"), datetime(2036, 1, 2, tzinfo=UTC))


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def run(node, *words):
    return CliRunner().invoke(app, [*words, "--socket", str(node.path)])


def test_the_fingerprint_is_all_that_is_on_standard_output(node):
    node.lab.node.admin_tls = TLS
    result = run(node, "admin", "fingerprint")
    assert (result.exit_code, result.stdout) == (0, f"{'ab' * 32}\n")
    assert result.stderr == "names clb-1, localhost; until 2036-01-02; key for curl --pinnedpubkey: sha256//AAAA\n"
    assert json.loads(run(node, "admin", "fingerprint", "--json").stdout)["is_own"] is True
    assert f"certificate SHA-256 {'ab' * 32}, until 2036-01-02" in run(node, "status").stdout


def test_clear_text_has_none(node):
    result = run(node, "admin", "fingerprint")
    assert result.exit_code == 1
    assert "plain HTTP" in result.stderr
    assert "management http://127.0.0.1:9443, no tokens yet (clb token create)" in run(node, "status").stdout
