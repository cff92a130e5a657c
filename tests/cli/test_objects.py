"""`clb lb`, `listener`, `rule`, `target`, `health` and `api` against a node's routes over a real socket."""

from __future__ import annotations

import json

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli.main import app
from clb.metering.cells import TargetField, TargetState
from clb.store.inventory import Kind

RULE = "new/web/a.test"
IN_FILE = "shop/https/shop.example.com"


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def run(node, *words, code=0, **keys):
    result = CliRunner().invoke(app, [*words, "--socket", str(node.path)], **keys)
    assert result.exit_code == code, result.output
    return result


def documents(node, kind):
    return {each.key: dict(each.document) for each in node.lab.store.inventory.entries.values() if each.kind is kind}


def make(node):
    run(node, "lb", "create", "new", "--label", "tenant=acme", "--region", "north")
    run(node, "listener", "create", "new", "--name", "web", "--protocol", "http", "--port", "8081")
    run(node, "rule", "create", "new/web", "--domain", "a.test", "--default", "--target", "10.0.0.5:80=20")


def test_from_load_balancer_to_target(node):
    make(node)
    assert documents(node, Kind.LOAD_BALANCER)["new"] == {
        "name": "new", "region": ["north"], "labels": {"tenant": "acme"},
    }  # fmt: skip
    assert documents(node, Kind.TARGET) == {"10.0.0.5:80": {"address": "10.0.0.5", "port": 80, "weight": 20}}
    head, line, *_ = run(node, "lb", "list").stdout.splitlines()
    assert head.split() == ["NAME", "ID", "OWNER", "REGION", "HERE", "LISTENERS"]
    assert (line.split()[0], line.split()[2:]) == ("new", ["api", "north", "no", "1"])
    assert "new/web" in run(node, "listener", "list", "--load-balancer", "new").stdout
    shown = run(node, "rule", "show", RULE).stdout
    assert shown.startswith("new/web a.test/ (rule-")
    assert "    domain: a.test\n    default: true\n" in shown
    assert len(json.loads(run(node, "rule", "list", "--json").stdout)["rules"]) == 18


def test_changes_and_their_plans(node):
    make(node)
    assert (
        run(node, "rule", "set", RULE, "--set", "health_check.path=/up", "--dry-run").stdout == "nothing was changed\n"
    )
    run(node, "rule", "set", RULE, "--set", "health_check.path=/up", "--set", "session.expire=60s")
    assert documents(node, Kind.RULE)["a.test /"]["health_check"] == {"path": "/up"}
    run(node, "rule", "set", RULE, "--set", "session=", "--scheduler", "least_conn")
    assert "session" not in documents(node, Kind.RULE)["a.test /"]
    run(node, "listener", "set", "new/web", "--set", "timeouts.keepalive=30s")
    refused = run(node, "listener", "set", "new/web", "--set", "timeouts.keepalive=never", code=1)
    assert 'timeouts.keepalive: is "never"' in refused.stderr
    assert "several listeners" not in run(node, "lb", "set", "new", "--label", "tenant=other").stdout
    assert "remove those first" in run(node, "lb", "delete", "new", code=1).stderr
    run(node, "lb", "delete", "new", "--cascade")
    assert not node.lab.store.inventory.entries


def test_targets(node):
    make(node)
    out = run(node, "target", "register", RULE, "10.0.0.5:80=20", "10.0.0.6:80", "[fd00::7]:80=3").stdout
    assert out == "2 registered: 10.0.0.6:80, [fd00::7]:80\n"
    run(node, "target", "weight", "10.0.0.6:80", "7", "--rule", RULE)
    run(node, "target", "drain", "[fd00::7]:80")
    lines = run(node, "target", "list", "--rule", RULE).stdout.splitlines()[1:]
    assert [line.split()[2:5] for line in lines] == [
        ["10.0.0.5:80", "20", "unchecked"],
        ["10.0.0.6:80", "7", "unchecked"],
        ["[fd00::7]:80", "0", "draining"],
    ]
    assert "weight 3" in run(node, "target", "undrain", "[fd00::7]:80").stdout
    assert run(node, "target", "deregister", RULE, "10.0.0.6:80").stdout == "1 deregistered: 10.0.0.6:80\n"
    run(node, "target", "register", RULE, "--only", "10.0.0.5:80")
    run(node, "target", "delete", "10.0.0.5:80", "--rule", RULE)
    assert documents(node, Kind.TARGET) == {}


def test_waiting_for_a_drain(node):
    key = "shop/https shop.example.com/ 10.0.0.2:80"
    node.lab.set_cell(key, TargetField.IN_FLIGHT, 2)
    words = ["target", "drain", "10.0.0.2:80", "--rule", IN_FILE, "--wait"]
    late = run(node, *words, "--timeout", "0.3", code=1)
    assert "still works on 2 requests" in late.stderr
    node.lab.set_cell(key, TargetField.IN_FLIGHT, 0)
    assert "works on 0 requests" in run(node, *words).stdout


def test_what_cannot_be_meant(node):
    several = run(node, "target", "show", "10.0.0.1:80", code=1)
    assert "rules have a target 10.0.0.1:80; say which" in several.stderr
    assert f"--rule '{IN_FILE} /'" in several.stderr
    assert "no rule for none.test /" in run(node, "rule", "show", "shop/https/none.test", code=1).stderr
    assert "write ADDRESS:PORT" in run(node, "target", "register", IN_FILE, "10.0.0.1", code=2).stderr
    assert "write KEY=VALUE" in run(node, "rule", "set", IN_FILE, "--set", "scheduler", code=2).stderr
    assert "owns load balancer shop" in run(node, "lb", "delete", "shop", "--cascade", code=1).stderr
    exact = run(node, "rule", "show", "shop/https/shop.example.com =/old", "--json")
    assert json.loads(exact.stdout)["url"] == "=/old"


def test_documents_from_files(node, tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(
        "name: ignored\nlisteners:\n- {protocol: http, port: 8081, rules: [{domain: a.test, default: true}]}\n"
    )
    created = run(node, "lb", "create", "new", "--file", str(file))
    assert created.stdout.startswith("new (lb-")
    assert "listeners[0].rules[0].targets: no targets" in created.stderr
    run(node, "rule", "set", "new/http-8081/a.test", "--file", "-", input='{"scheduler": "least_conn"}')
    assert documents(node, Kind.RULE)["a.test /"]["scheduler"] == "least_conn"
    file.write_text("a: 1\nb: [\n")
    assert f"{file}:3:1: " in run(node, "lb", "create", "x", "--file", str(file), code=2).stderr
    file.write_text("a: 1\na: 2\n")
    assert f"{file}:2:1: " in run(node, "lb", "create", "x", "--file", str(file), code=2).stderr
    file.write_text("- 1\n")
    assert "write keys and values" in run(node, "lb", "create", "x", "--file", str(file), code=2).stderr
    assert "No such file" in run(node, "lb", "create", "x", "--file", str(tmp_path / "none"), code=2).stderr


def test_health(node):
    assert run(node, "health").stdout.startswith("30 unchecked\n")
    node.lab.set_state("shop/https shop.example.com/ 10.0.0.1:80", TargetState.UNHEALTHY)
    out = run(node, "health", "--state", "unhealthy", code=1).stdout
    assert "29 unchecked, 1 unhealthy" in out
    assert "load balancer shop, listener https, rule shop.example.com /" in out


def test_the_document_of_the_api(node):
    document = json.loads(run(node, "api", "openapi").stdout)
    assert "/v1/load-balancers" in document["paths"]
