"""The OpenAPI document against a whole node: requests of its forms and of others, for every role and for none.

No answer may be a defect (5xx), of a status or of a form that the document does not name. A reload and the removal of
tokens are asked for apart: a random one would change whom the other requests come from.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faq"))
sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))

from clb_process import free_port
from faq_node import FaqNode, Issuer
from tls_material import TlsMaterial

from clb.cli.node_client import NodeFault

ROLES = ("viewer", "operator", "admin")
APART = ("/v1/reload", "/v1/tokens/{token_id}")
CASES = 5000


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaqNode]:
    directory = tmp_path_factory.mktemp("fuzzed")
    node = FaqNode(TlsMaterial(directory), directory)
    node.document["load_balancers"] = [
        {"name": "of-file", "listeners": [{"protocol": "http", "port": free_port(), "rules": [rule("f.test")]}]}
    ]
    with node:
        node.upload("seed", Issuer().issue("seed.test"))
        yield node


def rule(domain: str) -> dict[str, Any]:
    target = {"address": "127.0.0.1", "port": free_port()}
    return {"domain": domain, "default": True, "health_check": {"enabled": False}, "targets": [target]}


@pytest.fixture(scope="module")
def tokens(node: FaqNode) -> dict[str, str]:
    return {role: node.api.post("/v1/tokens", {"name": f"fuzz-{role}", "role": role})["secret"] for role in ROLES}


def ids(node: FaqNode) -> dict[str, str]:
    """Something that is there, made anew: a run before may have removed it."""
    listener = {"protocol": "http", "address": "127.0.0.1", "port": free_port(), "rules": [rule("s.test")]}
    made = node.api.post("/v1/load-balancers", {"name": f"fuzz-{free_port()}", "listeners": [listener]})
    below = f"load_balancer={made['id']}"
    return {
        "load_balancer_id": made["id"],
        "listener_id": node.api.get(f"/v1/listeners?{below}")["listeners"][0]["id"],
        "rule_id": node.api.get(f"/v1/rules?{below}")["rules"][0]["id"],
        "target_id": node.api.get(f"/v1/targets?{below}")["targets"][0]["id"],
        "certificate_id": node.api.get("/v1/certificates?name=seed")["certificates"][0]["id"],
    }


def run(node: FaqNode, token: str | None, directory: Path, phases: str, examples: int, *more: str) -> tuple[int, str]:
    """Return how many cases there were, and what was found; nothing is left out of it but by `more`."""
    config = Path(__file__).with_name("fuzz.toml").read_text()
    if token is None:
        # Whoever guesses credentials is slowed down.
        config = config.replace('["2xx", 401, ', '["2xx", 401, 429, ')
    try:
        known = ids(node)
    except (NodeFault, IndexError):
        known = {}
    values = "\n".join(f"{name} = {json.dumps(value)}" for name, value in known.items())
    (directory / "fuzz.toml").write_text(f"{config}\n[parameters]\n{values}\n")
    where = f"https://127.0.0.1:{node.document['admin']['port']}"
    header = ["-H", f"Authorization: Bearer {token}"] if token is not None else []
    (directory / "openapi.json").write_text(json.dumps(node.api.get("/v1/openapi.json")))
    apart = [word for path in APART for word in ("--exclude-path", path)]
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(directory / "fuzz.toml")),
            *("run", str(directory / "openapi.json"), "--url", where),
            *("--tls-verify", str(node.state_dir / "admin.pem"), *header, "--checks", "all"),
            *("--phases", phases, "-n", str(examples), "--continue-on-failure", "--no-color", "--seed", "7"),
            *("--generation-database", "none", "--suppress-health-check", "all", *apart, *more),
        ],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=directory,
        check=False,
    )
    counted = re.search(r"(\d+) generated", finished.stdout)
    assert counted is not None, finished.stdout + finished.stderr
    (directory / "found.txt").write_text(finished.stdout)
    assert not any("Traceback" in line for line in node.lines), node.lines[-30:]
    return int(counted.group(1)), "" if finished.returncode == 0 else finished.stdout


def test_some_requests_of_every_operation(node, tokens, tmp_path):
    # Wrong credentials, which one of the checks sends, are slowed down by address; see the test without a token.
    count, found = run(node, tokens["admin"], tmp_path, "examples,fuzzing", 2, "--exclude-checks", "ignored_auth")
    assert not found, found
    assert count > 100


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_thousands_of_requests_by_every_role(node, tokens, tmp_path, role):
    count, found = run(
        node, tokens[role], tmp_path, "examples,coverage,fuzzing", 20, "--exclude-checks", "ignored_auth"
    )
    assert not found, found
    assert count >= CASES


@pytest.mark.slow
def test_thousands_of_requests_without_a_token(node, tmp_path):
    count, found = run(node, None, tmp_path, "examples,coverage,fuzzing", 5)
    assert not found, found
    assert count >= CASES


def test_what_is_asked_for_apart(node, tokens):
    removed = node.api.post("/v1/tokens", {"name": "fuzz-removed", "role": "viewer"})["id"]
    assert node.api.get(f"/v1/tokens/{removed}")["id"] == removed
    node.api.ask("DELETE", f"/v1/tokens/{removed}", None, {"If-Match": "*"})
    assert node.api.post("/v1/reload", {"plan_only": True})["done"] is False
    assert node.api.post("/v1/reload", None)["done"] is True
