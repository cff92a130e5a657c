"""A backup is whole whoever writes meanwhile, comes back in any kind of database, and is taken notice of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres import Postgres
from samples import audit, certificate, entry, override, replay, token

from clb.store.backup import back_up, read_backup, restore
from clb.store.database import Database, prepare_store
from clb.store.inventory import Inventory, Kind, Write

WRITE = Write(
    entries=(entry("shop"), entry("https", Kind.LISTENER, "shop")),
    certificates=(certificate("web"),),
    overrides=(override("shop/https a.example/ 10.0.0.1:80"),),
    tokens=(token("ci"),),
    audit=(audit("first"), audit("second", before={"ü": 1}, after=None)),
    replay=replay("a"),
)
RESTORED = audit("store.restore")


def without_revision(inventory: Inventory) -> tuple[object, ...]:
    return inventory.entries, inventory.certificates, inventory.overrides, inventory.tokens, inventory.children


@pytest.mark.parametrize("moves", ["sqlite_to_postgresql", "postgresql_to_sqlite"])
def test_a_store_moves_to_the_other_kind_of_database(tmp_path: Path, server: Postgres, moves: str):
    urls = [f"sqlite:///{tmp_path / 'clb.db'}", server.database()]
    one, other = [prepare_store(url, tmp_path) for url in (urls if moves.startswith("sqlite") else reversed(urls))]
    one.commit(WRITE, 0)
    back_up(one, tmp_path / "backup")
    other.commit(Write(entries=(entry("what was there"),), audit=(audit("before"),)), 0)
    revision = restore(other, read_backup(tmp_path / "backup"), RESTORED)
    assert other.revision() == revision
    assert without_revision(other.read()) == without_revision(one.read())
    actions = [record for _, record in other.audit(0, 10)]
    assert actions == [RESTORED, *(record for _, record in one.audit(0, 10))]
    # And it can be written to: whatever the database counts by itself is behind what came.
    assert other.commit(Write(entries=(entry("next"),), audit=(audit("third"),)), revision) == revision + 1
    one.close()
    other.close()


def test_more_audit_records_than_are_given_at_once(store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clb.store.backup.MOST_AUDIT_RECORDS", 3)
    for number in range(7):
        store.commit(Write(audit=(audit(f"action.{number}"),)), 0)
    assert back_up(store, tmp_path / "backup").audit_records == 7
    found = read_backup(tmp_path / "backup").audit
    assert [record.action for record in found] == [f"action.{number}" for number in range(7)]


def test_a_node_takes_notice_of_what_was_restored_into_a_database_made_anew(tmp_path: Path):
    """It knows the writes behind the backup, and the new database counted none of them."""
    (tmp_path / "new").mkdir()
    lost, new = prepare_store(None, tmp_path), prepare_store(None, tmp_path / "new")
    lost.commit(WRITE, 0)
    back_up(lost, tmp_path / "backup")
    known = lost.commit(Write(entries=(entry("behind it"),)), 1)
    lost.close()
    restore(new, read_backup(tmp_path / "backup"), RESTORED)
    assert new.wait_for_change(known, 0.0, lambda: False)
    new.close()


def test_what_comes_back_twice_is_taken_notice_of_twice(store: Database, tmp_path: Path):
    store.commit(WRITE, 0)
    back_up(store, tmp_path / "backup")
    dump = read_backup(tmp_path / "backup")
    first, second = restore(store, dump, RESTORED), restore(store, dump, RESTORED)
    assert 1 < first != second
    assert without_revision(store.read()) == without_revision(Inventory().after(WRITE))


def test_a_backup_is_of_one_moment(store: Database, opened: Callable[[], Database], tmp_path: Path):
    """Two entries are always written together, and found together."""
    writer, ended = opened(), threading.Event()

    def write() -> None:
        revision = 0
        while not ended.is_set():
            put = tuple(entry(name, version=revision + 1) for name in ("one", "other"))
            revision = writer.commit(Write(entries=put), revision)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for number in range(20):
            back_up(store, tmp_path / str(number))
            found = read_backup(tmp_path / str(number)).inventory
            assert [each.version for each in found.entries.values()] in ([], [found.revision] * 2)
    finally:
        ended.set()
        writing.join()
