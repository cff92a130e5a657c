"""clb store: what an operator types, on real files."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clb.cli.main import app
from clb.service.state import lock_state_dir
from clb.store.database import open_store, prepare_store
from clb.store.inventory import Write

sys.path.append(str(Path(__file__).parents[1] / "store"))

from samples import audit, certificate, entry

WRITE = Write(entries=(entry("shop"),), certificates=(certificate("web"),), audit=(audit("first"), audit("second")))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o700)
    store = prepare_store(None, state_dir)
    store.commit(WRITE, 0)
    store.close()
    file = tmp_path / "clb.yaml"
    file.write_text(f"node: {{state_dir: {state_dir}}}\n")
    return file


def clb(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["store", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def state_of(config: Path) -> Path:
    return config.parent / "state"


def test_check_counts(config: Path):
    status, said = clb("check", "--config", config, "--json")
    assert (status, json.loads(said)) == (0, {"revision": 1, "entries": 1, "certificates": 1, "tokens": 0})


def test_a_backup_brings_back_what_was_there(config: Path, tmp_path: Path):
    file = tmp_path / "backup"
    status, said = clb("backup", file, "--config", config)
    assert (status, said) == (
        0,
        f"backed up to {file}: revision 1, 1 entries, 1 certificates, 0 tokens, 2 audit records\n",
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store = open_store(None, state_of(config))
    before = store.read()
    store.commit(Write(removed=frozenset({"shop"}), removed_certificates=frozenset({"cert-web"})), 1)
    assert clb("restore", file, "--config", config)[0] == 0
    after = store.read()
    assert (after.entries, after.certificates) == (before.entries, before.certificates)
    assert after.revision == 3
    assert [record.action for _, record in store.audit(0, 10)] == ["second", "first"]
    store.close()


def test_a_backup_never_takes_the_place_of_a_file(config: Path, tmp_path: Path):
    file = tmp_path / "backup"
    file.write_text("precious")
    status, said = clb("backup", file, "--config", config)
    assert (status, said) == (2, f"clb: {file} is there already; nothing was written\n")
    assert file.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nothing_is_restored_while_clb_serves(config: Path, tmp_path: Path):
    file = tmp_path / "backup"
    clb("backup", file, "--config", config)
    lock_state_dir(state_of(config))
    status, said = clb("restore", file, "--config", config)
    assert (status, "another clb serves" in said) == (2, True)


def test_a_backup_that_was_cut_off_is_refused_before_anything_changes(config: Path, tmp_path: Path):
    file = tmp_path / "backup"
    clb("backup", file, "--config", config)
    file.write_bytes(file.read_bytes()[:-30])
    status, said = clb("restore", file, "--config", config)
    assert (status, said) == (2, f"clb: {file}: it is cut off, or clb did not write it\n")
    assert clb("check", "--config", config)[0] == 0


@pytest.mark.parametrize("command", ["check", "backup"])
def test_without_a_store_there_is_nothing_to_look_at(tmp_path: Path, command: str):
    file = tmp_path / "clb.yaml"
    file.write_text(f"node: {{state_dir: {tmp_path}}}\n")
    words = [command, *([tmp_path / "backup"] if command == "backup" else [])]
    assert clb(*words, "--config", file) == (2, f"clb: there is no store in {tmp_path} yet\n")


def test_faults_of_the_file_are_told_with_their_places(tmp_path: Path):
    file = tmp_path / "clb.yaml"
    file.write_text("nodes: {}\n")
    status, said = clb("check", "--config", file)
    assert (status, said.startswith(f"{file}:1:1: nodes: ")) == (1, True)


def test_migrate_makes_what_is_not_there(tmp_path: Path):
    file = tmp_path / "clb.yaml"
    file.write_text(f"node: {{state_dir: {tmp_path}}}\n")
    assert clb("migrate", "--config", file) == (0, "the store has the schema of this clb\n")
    assert clb("check", "--config", file)[0] == 0
