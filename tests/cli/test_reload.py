"""`clb reload`: what is printed where, and with which status."""

from __future__ import annotations

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli.main import app
from clb.cli.reload import lines
from clb.config.plan import Kind

CHANGE = {"kind": "new_listener", "where": "shop/http", "what": "0.0.0.0:80"}


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def run(node, *words):
    return CliRunner().invoke(app, ["reload", "--socket", str(node.path), *words])


def test_what_changed_is_printed(node):
    node.lab.supervisor.replies["reload"] = {"ok": True, "version": 2, "changes": [CHANGE], "warnings": ["odd"]}
    result = run(node)
    assert (result.exit_code, result.stderr) == (0, "warning: odd\n")
    assert result.stdout == "new listener        shop/http: 0.0.0.0:80\n1 change; configuration 2 is in service\n"


def test_a_plan_says_that_nothing_was_done(node):
    node.lab.supervisor.replies["plan"] = {"ok": True, "version": 1, "changes": [CHANGE, CHANGE]}
    result = run(node, "--plan")
    assert result.exit_code == 0
    assert result.stdout.endswith("2 changes planned, none made; configuration 1 is in service\n")


def test_nothing_to_do(node):
    node.lab.supervisor.replies["plan"] = node.lab.supervisor.replies["reload"] = {"ok": True, "version": 1}
    assert run(node, "--plan").stdout == "nothing changes\n"
    assert run(node).stdout == "nothing changed; configuration 1 is in service\n"


def test_every_fault_is_printed_and_the_status_is_1(node):
    node.lab.supervisor.replies["reload"] = {"ok": False, "errors": ["clb.yaml:1:1: wrong", "clb.yaml:2:2: too"]}
    result = run(node)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "clb.yaml:1:1: wrong\nclb.yaml:2:2: too\n"
        "clb: nothing was changed: the configuration cannot be taken into service\n"
    )


def test_no_node(tmp_path):
    result = CliRunner().invoke(app, ["reload", "--socket", str(tmp_path / "s")])
    assert result.exit_code == 2
    assert "is clb serve running" in result.stderr


def test_the_words_are_those_of_the_plan():
    for kind in Kind:
        change = {"kind": kind.value, "where": "w", "what": "x"}
        (first, _) = lines({"changes": [change], "done": True, "config_version": 1})
        assert first == f"{kind.words:<19} w: x"
