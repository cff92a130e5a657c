"""`clb keyring`: the file, what is shown, and a rotation against a node that reads the file again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from certificate_desk import Desk, good
from certificate_lab import ec_key

from clb.certificates.keyring import Keyring, new_secret
from clb.certificates.keyring_source import make_keyring
from clb.cli.main import app
from clb.config.models import Keyring as Source
from clb.store.inventory import Role

SITE = {"certificates": {}}


def invoke(*words):
    return CliRunner().invoke(app, ["keyring", *map(str, words)])


class RereadingDesk(Desk):
    """Takes the keyring's file up again on a reload, as the loader does."""

    def __init__(self, directory):
        self.file = directory / "keyring"
        super().__init__(directory, SITE, make_keyring(self.file))
        self.reloads = 0

        @self.app.post("/v1/reload")
        async def reload():
            self.reloads += 1
            self.holder.take(Source(), self.file.read_bytes())
            return {}


@pytest.fixture
def desk(tmp_path):
    desk = RereadingDesk(tmp_path)
    node = NodeOnASocket(tmp_path)
    node.lab = SimpleNamespace(app=desk.as_role(Role.ADMIN), socket_door=desk.socket_door)
    with node:
        desk.words = ["--socket", node.path]
        yield desk


def ids(path):
    return Keyring.from_secret(path.read_bytes()).key_ids


def test_init(tmp_path):
    result = invoke("init", tmp_path / "ring")
    assert (result.exit_code, "keep a copy" in result.stdout) == (0, True)
    assert (tmp_path / "ring").stat().st_mode & 0o777 == 0o600
    again = invoke("init", tmp_path / "ring")
    assert (again.exit_code, "left alone" in again.stderr) == (1, True)
    assert "clb-key" not in result.output + again.output


def test_init_to_standard_output():
    assert len(Keyring.from_secret(invoke("init", "-").stdout.encode()).key_ids) == 1


def test_show(desk):
    desk.upload("shop")
    result = invoke("show", *desk.words)
    _, row = result.stdout.splitlines()
    assert row.split() == [ids(desk.file)[0], "current", "1"]
    desk.holder.take(Source(), new_secret())
    assert "MISSING" in invoke("show", *desk.words).stdout
    assert json.loads(invoke("show", *desk.words, "--json").stdout)["loaded"] is True


def test_show_without_one(tmp_path):
    desk = Desk(tmp_path, SITE)
    node = NodeOnASocket(tmp_path)
    node.lab = SimpleNamespace(app=desk.as_role(Role.ADMIN), socket_door=desk.socket_door)
    with node:
        assert "one is made when" in invoke("show", "--socket", node.path).stdout


def test_a_whole_rotation(desk):
    desk.upload("shop")
    made = desk.upload("other", key=ec_key("b"))
    desk.ask("POST", f"/v1/certificates/{made['id']}/replace", good(ec_key("c")), if_match="*")
    (old,) = ids(desk.file)
    result = invoke("rotate", *desk.words)
    assert result.exit_code == 0, result.output
    (new,) = ids(desk.file)
    assert new != old
    assert desk.file.stat().st_mode & 0o777 == 0o600
    assert f"3 private keys moved to {new}" in result.stdout
    assert desk.reloads == 2
    for each in desk.inventory.certificates.values():
        assert desk.holder.to_open().open(each.material.sealed_key, each.id, each.generation, each.material.chain_pem)
    assert "clb-key" not in result.output


def test_step_by_step(desk):
    desk.upload("shop")
    assert invoke("rotate", *desk.words, "--only", "add").exit_code == 0
    assert len(ids(desk.file)) == 2
    early = invoke("rotate", *desk.words, "--only", "drop")
    assert (early.exit_code, "rewrap first" in early.stderr) == (1, True)
    assert invoke("rotate", *desk.words, "--only", "rewrap").exit_code == 0
    assert invoke("rotate", *desk.words, "--only", "drop").exit_code == 0
    assert len(ids(desk.file)) == 1


def test_old_keys_stay_while_something_does_not_open(desk):
    from dataclasses import replace

    from clb.store.inventory import Write

    made = desk.upload("shop")
    stored = desk.inventory.certificates[made["id"]]
    sealed = replace(stored.material.sealed_key, wrapped=b"x" * 60)
    desk.put(Write(certificates=(replace(stored, material=replace(stored.material, sealed_key=sealed)),)))
    result = invoke("rotate", *desk.words)
    assert (result.exit_code, "shop (cert-" in result.stderr) == (1, True)
    assert len(ids(desk.file)) == 2


def test_the_file_is_that_of_the_configuration(desk, tmp_path):
    other = tmp_path / "elsewhere" / "ring"
    other.parent.mkdir()
    make_keyring(other)
    config = tmp_path / "clb.yaml"
    config.write_text("node: {state_dir: .}\nkeyring: {file: elsewhere/ring}\n")
    result = invoke("rotate", "--config", config, "--only", "add")
    # The node of this test reads another file.
    assert (result.exit_code, "does not have this keyring" in result.stderr) == (1, True)
    assert len(ids(other)) == 2


@pytest.mark.parametrize("source", ["env: CLB_KEYRING", "command: [cat, ring]"])
def test_what_is_not_in_a_file_is_the_operator_s(desk, tmp_path, source):
    config = tmp_path / "clb.yaml"
    config.write_text(f"node: {{state_dir: .}}\nkeyring: {{{source}}}\n")
    result = invoke("rotate", "--config", config)
    assert (result.exit_code, "clb keyring init - prints one" in result.stderr) == (1, True)
    assert invoke("rotate", "--config", config, "--only", "rewrap").exit_code == 0


def test_a_keyring_that_others_may_read_is_not_rotated(desk):
    desk.file.chmod(0o644)
    result = invoke("rotate", *desk.words)
    assert (result.exit_code, "chmod 600" in result.stderr) == (1, True)
    assert len(ids(desk.file)) == 1
