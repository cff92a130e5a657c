"""`clb token` and `clb audit`: what is printed where, and that a secret is printed once."""

from __future__ import annotations

import json
import re

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli.main import app
from clb.store.inventory import Role

SECRET = r"clb_[a-z2-9]{12}_[A-Za-z0-9_-]{43}"


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def run(node, *words, status=0):
    result = CliRunner().invoke(app, [*words, "--socket", str(node.path)])
    assert result.exit_code == status, result.output
    return result


def test_the_secret_is_all_that_is_on_standard_output(node):
    made = run(node, "token", "create", "deploy", "--role", "operator", "--expires", "9000d")
    assert re.fullmatch(f"{SECRET}\n", made.stdout)
    assert re.search(r"token deploy \(tok-[a-z2-9]{12}\), role operator, until \S+; keep it", made.stderr)
    assert made.stdout.strip() not in made.stderr


def test_quiet_is_quiet(node):
    made = run(node, "token", "create", "ci", "--quiet")
    assert re.fullmatch(f"{SECRET}\n", made.stdout)
    assert made.stderr == ""
    (token,) = node.lab.tokens().values()
    assert (token.name, token.role, token.expires_at) == ("ci", Role.VIEWER, None)


def test_lists_and_single_ones(node):
    assert "make one: clb token create NAME" in run(node, "token", "list").stderr
    secret = run(node, "token", "create", "a").stdout.strip()
    node.lab.now += 1
    run(node, "token", "create", "b", "--expires", "2036-01-01")
    listed = run(node, "token", "list").stdout
    assert [line.split()[1:4] for line in listed.splitlines()] == [["a", "viewer", "active"], ["b", "viewer", "active"]]
    assert "until 2036-01-01 00:00" in listed
    by_name = json.loads(run(node, "token", "show", "a", "--json").stdout)
    assert json.loads(run(node, "token", "show", by_name["id"], "--json").stdout) == by_name
    assert [each["name"] for each in json.loads(run(node, "token", "list", "--json").stdout)] == ["a", "b"]
    everything = listed + json.dumps(by_name) + run(node, "audit", "--details").stdout
    assert secret not in everything


def test_change_and_revoke(node):
    run(node, "token", "create", "a", "--expires", "900w")
    assert "no expiry" in run(node, "token", "change", "a", "--name", "b", "--expires", "never").stdout
    assert "revoked" in run(node, "token", "revoke", "b").stdout
    assert run(node, "token", "list").stdout == ""
    assert "b " in run(node, "token", "list", "--all").stdout
    assert "uid:" in run(node, "token", "whoami").stdout
    assert json.loads(run(node, "token", "whoami", "--json").stdout)["role"] == "admin"


WRONG = {
    "no_such_name": (["show", "nobody"], 1, 'there is no token "nobody"'),
    "no_such_id": (["show", "tok-aaaaaaaaaaaa"], 1, "there is no token with this id"),
    "no_name_at_all": (["show", "../x?y"], 1, "there is no token"),
    "taken": (["create", "a"], 1, 'a token is called "a" already'),
    "expiry": (["create", "x", "--expires", "soon"], 2, "write"),
    "role": (["create", "x", "--role", "root"], 1, "body.role"),
    "nothing": (["change", "a"], 2, "--name or --expires"),
}


@pytest.mark.parametrize(("words", "status", "text"), WRONG.values(), ids=WRONG)
def test_what_is_refused(node, words, status, text):
    run(node, "token", "create", "a")
    assert text in run(node, "token", *words, status=status).stderr


def test_the_audit_log(node):
    for name in ("a", "b", "c"):
        run(node, "token", "create", name)
    run(node, "token", "revoke", "b")
    lines = run(node, "audit").stdout.splitlines()
    assert [line.split()[6] for line in lines] == ["token.create"] * 3 + ["token.revoke"]
    assert re.match(
        r" +1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  uid:\d+ \(control socket\)  token.create  tok-\S+ \(a\)$", lines[0]
    )
    assert len(run(node, "audit", "-n", "2").stdout.splitlines()) == 2
    assert len(run(node, "audit", "--action", "token.revoke").stdout.splitlines()) == 1
    (record,) = json.loads(run(node, "audit", "--subject", "(c)", "--json").stdout)
    assert record["after"]["name"] == "c"
    assert 'after: {"name": "b"' in run(node, "audit", "--subject", "(b)", "--details").stdout
