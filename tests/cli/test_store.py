"""clb store: what an operator types, on real files."""

from __future__ import annotations

import json
import os
import sqlite3
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
    # The write behind the backup was the second: no node may take this for what it knows.
    assert after.revision > 1_000_000
    last, *older = [record for _, record in store.audit(0, 10)]
    assert [record.action for record in older] == ["second", "first"]
    assert (last.action, last.actor) == ("store.restore", f"uid:{os.getuid()} (command line)")
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
    assert clb(*words, "--config", file) == (2, f"clb: there is no store in {tmp_path}/clb.db yet\n")


def test_to_look_for_a_store_makes_none(tmp_path: Path):
    file = tmp_path / "clb.yaml"
    file.write_text(f"node: {{state_dir: {tmp_path}}}\nstore: {{url: 'sqlite:///other.db'}}\n")
    assert clb("check", "--config", file) == (2, f"clb: there is no store in {tmp_path}/other.db yet\n")
    assert not (tmp_path / "other.db").exists()


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


# --- what is not sound ---

OTHER_INDEX = """
    PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = replace(sql, 'kind', 'id') WHERE name = 'uq_entries_natural'
"""
SPOILED = {  # case: (what is done to the database, what is said)
    "newer": ("UPDATE clb_schema SET version_num = '9999'", "schema 9999 and this clb knows schemas up to"),
    "not_made": ("DROP TABLE clb_schema", "tables of another program"),
    "no_text": ("UPDATE entries SET document = '{'", "the record of load_balancer shop is damaged"),
    "orphan": ("UPDATE entries SET kind = 'rule', parent = 'gone'", "hangs below one of entries that is not there"),
    "wrong_place": ("UPDATE entries SET kind = 'rule', parent = id", "rule shop hangs below what it cannot"),
    "no_material": ("DELETE FROM materials", "certificate cert-web: what it consists of is damaged or not there"),
    "index": (OTHER_INDEX, "the file is damaged: "),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILED.values(), ids=SPOILED)
def test_what_is_not_sound_is_said_to_be(config: Path, spoil: str, said: str):
    database = sqlite3.connect(state_of(config) / "clb.db")
    database.executescript(spoil)
    database.commit()
    database.close()
    status, text = clb("check", "--config", config)
    assert (status, said in text, "Traceback" in text) == (2, True, False), text


@pytest.mark.parametrize("command", ["check", "backup"])
def test_a_database_without_a_schema_is_not_taken_for_an_empty_store(tmp_path: Path, command: str):
    file = tmp_path / "clb.yaml"
    file.write_text(f"node: {{state_dir: {tmp_path}}}\n")
    (tmp_path / "clb.db").touch()
    words = [command, *([tmp_path / "backup"] if command == "backup" else [])]
    status, said = clb(*words, "--config", file)
    assert (status, "`clb store migrate` makes it" in said) == (2, True)
    assert not (tmp_path / "backup").exists()


def test_a_store_that_is_ruined_is_put_aside_and_restored(config: Path, tmp_path: Path):
    file = tmp_path / "backup"
    clb("backup", file, "--config", config)
    database = state_of(config) / "clb.db"
    database.write_bytes(b"ruins" * 5000)
    for words in (["check"], ["restore", file]):
        status, said = clb(*words, "--config", config)
        assert (status, said) == (2, "clb: file is not a database\n")
    database.rename(tmp_path / "ruins")
    assert clb("restore", file, "--config", config)[0] == 0
    assert clb("check", "--config", config)[0] == 0
