"""What every store does, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import Postgres
from samples import BELOW, NOW, audit, certificate, entry, material, override, replay, token
from sqlalchemy import event

from clb.store.database import AUDIT_KEPT, REPLAYS_KEPT, Database, open_store, prepare_store
from clb.store.engine import store_url
from clb.store.interface import OutcomeUnknown, StaleRevision, StoreAway
from clb.store.inventory import Entry, Inventory, Kind, Write

SHOP = entry("shop")
TREE = (
    SHOP,
    entry("https", Kind.LISTENER, "shop"),
    entry("rule", Kind.RULE, "https"),
    entry("target", Kind.TARGET, "rule"),
)
EVERYTHING = Write(
    entries=TREE,
    certificates=(certificate("web"), certificate("partners", type="ca", material=material(2, has_key=False))),
    overrides=(override("shop/https a.example/ 10.0.0.1:80"),),
    tokens=(token("ci", expires_at=NOW + timedelta(days=1)),),
    audit=(audit(),),
    replay=replay("a"),
)


def test_an_empty_store_is_at_revision_zero(store: Database):
    assert store.read() == Inventory.of(0, ())
    assert store.revision() == 0


def test_what_was_written_comes_back_as_it_was(store: Database, opened: Callable[[], Database]):
    assert store.commit(EVERYTHING, 0) == 1
    expected = Inventory().after(EVERYTHING)
    assert store.read() == expected
    assert opened().read() == expected


def test_a_write_on_an_old_revision_changes_nothing(store: Database):
    store.commit(Write(entries=(SHOP,)), 0)
    before = store.read()
    with pytest.raises(StaleRevision):
        store.commit(EVERYTHING, 0)
    assert store.read() == before
    assert store.audit(0, 10) == []


def test_what_goes_takes_along_what_is_below(store: Database):
    store.commit(EVERYTHING, 0)
    write = Write(removed=store.read().below("shop"), removed_certificates=frozenset({"cert-web"}))
    store.commit(write, 1)
    left = store.read()
    assert left.entries == {}
    assert set(left.certificates) == {"cert-partners"}


def test_a_replaced_certificate_keeps_the_generation_before(store: Database):
    store.commit(EVERYTHING, 0)
    old = store.read().certificates["cert-web"]
    new = replace(old, material=material(7), previous=old.material, generation=2, previous_generation=1, version=2)
    store.commit(Write(certificates=(new,)), 1)
    assert store.read().certificates["cert-web"] == new
    third = replace(new, material=material(8), previous=new.material, generation=3, previous_generation=2)
    store.commit(Write(certificates=(third,)), 2)
    assert store.read().certificates["cert-web"] == third


def test_two_entries_may_take_each_others_names(store: Database):
    store.commit(Write(entries=(entry("a"), entry("b"))), 0)
    one, other = store.read().entries["a"], store.read().entries["b"]
    store.commit(Write(entries=(replace(one, key="b"), replace(other, key="a"))), 1)
    assert {each.id: each.key for each in store.read().entries.values()} == {"a": "b", "b": "a"}


def test_an_entry_is_changed_and_not_made_anew(store: Database):
    store.commit(EVERYTHING, 0)
    store.commit(Write(entries=(replace(SHOP, document={"name": "shop", "labels": {"a": "b"}}, version=2),)), 1)
    assert len(store.read().entries) == len(TREE)
    assert store.read().entries["shop"].version == 2


# --- audit records and replays ---


def test_audit_records_alone_leave_the_revision_as_it_is(store: Database):
    assert store.commit(Write(audit=(audit("login.refused"), audit("reload"))), 12345) == 12345
    assert store.revision() == 0
    assert [record.action for _, record in store.audit(0, 10)] == ["reload", "login.refused"]


def test_audit_records_are_read_page_by_page(store: Database):
    for number in range(5):
        store.commit(Write(audit=(audit(f"action.{number}"),)), 0)
    first = store.audit(0, 2)
    assert [record.action for _, record in first] == ["action.4", "action.3"]
    assert [record.action for _, record in store.audit(first[-1][0], 2)] == ["action.2", "action.1"]


def test_old_audit_records_and_replays_go(tmp_path: Path, url: str):
    now = [NOW]
    store = prepare_store(url, tmp_path)
    later = Database(store.engine, now=lambda: now[0])
    later.commit(Write(audit=(audit("old"),), replay=replay("old")), 0)
    assert later.replay("old") == replay("old")
    now[0] = NOW + REPLAYS_KEPT + timedelta(seconds=1)
    assert later.replay("old") is None
    now[0] = NOW + AUDIT_KEPT + timedelta(days=1)
    later.commit(Write(audit=(audit("new", at=now[0]),), replay=replay("new", created_at=now[0])), 0)
    assert [record.action for _, record in later.audit(0, 10)] == ["new"]
    assert [record.action for _, record in later.audit(0, 10, since=now[0])] == ["new"]
    store.close()


def test_a_replay_is_of_the_write_that_took_place(store: Database):
    store.commit(Write(entries=(SHOP,), replay=replay("a")), 0)
    with pytest.raises(StaleRevision):
        store.commit(Write(entries=(entry("b"),), replay=replay("b")), 0)
    assert store.replay("a") == replay("a")
    assert store.replay("b") is None


# --- several writers ---


def test_of_two_writers_at_once_one_is_stale(store: Database, opened: Callable[[], Database]):
    stores = [store, opened()]
    for revision in range(10):
        assert sorted(_race(stores, revision)) == ["done", "stale"]
    assert store.revision() == 10
    assert len(store.read().entries) == 10


def _race(stores: list[Database], revision: int) -> list[str]:
    start, outcomes = threading.Barrier(2), []

    def write(store: Database, name: str) -> None:
        start.wait()
        try:
            store.commit(Write(entries=(entry(name),)), revision)
            outcomes.append("done")
        except StaleRevision:
            outcomes.append("stale")

    names = [f"e-{revision}-{number}" for number in range(2)]
    threads = [threading.Thread(target=write, args=each) for each in zip(stores, names, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_who_waits_hears_of_a_write(store: Database, opened: Callable[[], Database]):
    other = opened()
    heard: list[bool] = []
    waiting = threading.Thread(target=lambda: heard.append(store.wait_for_change(0, 20.0, lambda: False)))
    waiting.start()
    other.commit(Write(entries=(SHOP,)), 0)
    waiting.join()
    assert heard == [True]


def test_who_waits_for_nothing_is_told_so(store: Database):
    assert not store.wait_for_change(0, 0.1, lambda: False)
    assert not store.wait_for_change(0, 60.0, lambda: True)


# --- outages ---


def test_a_server_that_is_away_is_said_to_be_and_comes_back(tmp_path: Path, server: Postgres):
    store = prepare_store(server.database(), tmp_path)
    store.commit(Write(entries=(SHOP,)), 0)
    server.stop()
    try:
        for ask in (store.read, store.revision, lambda: store.commit(Write(entries=(entry("b"),)), 1)):
            with pytest.raises(StoreAway):
                ask()
        assert not store.wait_for_change(1, 0.5, lambda: False)
    finally:
        server.start()
    assert store.read().entries.keys() == {"shop"}
    assert store.commit(Write(entries=(entry("b"),)), 1) == 2
    assert store.wait_for_change(1, 5.0, lambda: False)
    store.close()


def test_a_connection_that_is_lost_during_commit_leaves_the_outcome_open(tmp_path: Path, server: Postgres):
    store = prepare_store(server.database(), tmp_path)
    down = [False]

    def lose(_: object) -> None:
        if not down[0]:
            down[0] = True
            server.stop()

    event.listen(store.engine, "commit", lose)
    with pytest.raises(OutcomeUnknown):
        store.commit(Write(entries=(SHOP,), replay=replay("a")), 0)
    server.start()
    # The idempotency key settles it: here the server was gone before it heard of the COMMIT.
    assert store.replay("a") is None
    assert store.revision() == 0
    store.close()


def test_a_url_is_in_no_text(tmp_path: Path):
    store = open_store("postgresql://clb:hunter2@127.0.0.1:1/store", tmp_path)
    with pytest.raises(StoreAway) as raised:
        store.read()
    assert "hunter2" not in str(raised.value) + repr(store.engine.url)
    store.close()


def test_a_full_disk_is_an_outage(tmp_path: Path):
    store = prepare_store(None, tmp_path)

    def bound(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 1}")

    event.listen(store.engine, "checkout", bound)
    store.commit(Write(entries=(SHOP,)), 0)
    large = entry("large", document={"text": "x" * 100_000})
    with pytest.raises(StoreAway, match="full"):
        store.commit(Write(entries=(large,)), 1)
    assert store.read().entries.keys() == {"shop"}
    event.remove(store.engine, "checkout", bound)
    store.close()


def test_a_writer_that_never_ends_is_waited_for_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clb.store.engine.BUSY_S", 0.1)
    store = prepare_store(None, tmp_path)
    with sqlite3.connect(tmp_path / "clb.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAway, match="locked"):
            store.commit(Write(entries=(SHOP,)), 0)
        assert store.read().entries == {}
        other.execute("ROLLBACK")
    other.close()
    assert store.commit(Write(entries=(SHOP,)), 0) == 1
    store.close()


# --- files ---


def test_the_files_of_sqlite_are_the_owners_alone(tmp_path: Path):
    store = prepare_store(None, tmp_path)
    store.commit(Write(entries=(SHOP,)), 0)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes) >= {"clb.db", "clb.db-wal"}
    assert set(modes.values()) == {0o600}
    store.close()


def test_a_file_that_cannot_be_made_is_said_to_be(tmp_path: Path):
    with pytest.raises(StoreAway, match=r"clb\.db cannot be made"):
        open_store(None, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("url", "drawn"),
    [
        (None, "sqlite:////state/clb.db"),
        ("sqlite:///file.db", "sqlite:////state/file.db"),
        ("sqlite:////other/file.db", "sqlite:////other/file.db"),
        ("postgresql://u@h/n", "postgresql+psycopg://u@h/n"),
        ("postgresql+psycopg://u@h/n", "postgresql+psycopg://u@h/n"),
    ],
)
def test_what_a_url_means(url: str | None, drawn: str):
    assert str(store_url(url, Path("/state"))) == drawn


# --- any history ---


@st.composite
def histories(draw: st.DrawFn) -> list[Write]:
    inventory, writes = Inventory(), []
    for number in range(draw(st.integers(1, 6))):
        parents = [None, *(each.id for each in inventory.entries.values() if each.kind in BELOW)]
        parent = draw(st.sampled_from(parents))
        kind = Kind.LOAD_BALANCER if parent is None else BELOW[inventory.entries[parent].kind]
        put: list[Entry] = [entry(f"e-{number}", kind, parent, position=draw(st.integers(-5, 5)))]
        if inventory.entries and draw(st.booleans()):
            old = inventory.entries[draw(st.sampled_from(sorted(inventory.entries)))]
            put.append(replace(old, document={"text": draw(st.text(max_size=20))}, version=old.version + 1))
        leaves = [each for each in inventory.entries if not inventory.children.get(each) and each != parent]
        leaves = [each for each in leaves if each not in {one.id for one in put}]
        removed = inventory.below(draw(st.sampled_from(leaves))) if leaves and draw(st.booleans()) else frozenset()
        names = draw(st.sets(st.sampled_from("abc"), max_size=2))
        writes.append(
            Write(
                entries=tuple(put),
                removed=removed,
                overrides=tuple(override(name, version=number + 1) for name in sorted(names)),
                removed_overrides=frozenset("abc") - names if draw(st.booleans()) else frozenset(),
                tokens=tuple(token(name, version=number + 1) for name in sorted(names)),
                certificates=tuple(certificate(name, version=number + 1) for name in sorted(names)),
            )
        )
        inventory = inventory.after(writes[-1])
    return writes


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=histories())
def test_reading_is_the_same_as_having_written(opened: Callable[[], Database], writes: list[Write]):
    store = opened()
    store.commit(Write(removed=frozenset(store.read().entries), **_all_gone(store)), store.revision())
    inventory = replace(store.read(), entries={}, children={})
    for write in writes:
        store.commit(write, inventory.revision)
        inventory = inventory.after(write)
    found = store.read()
    assert (found.revision, found.entries, found.certificates) == (
        inventory.revision,
        inventory.entries,
        inventory.certificates,
    )
    assert (found.overrides, found.tokens) == (inventory.overrides, inventory.tokens)
    assert {k: v for k, v in found.children.items() if v} == {k: v for k, v in inventory.children.items() if v}
    store.close()


def _all_gone(store: Database) -> dict[str, frozenset[str]]:
    there = store.read()
    return {
        "removed_certificates": frozenset(there.certificates),
        "removed_overrides": frozenset(there.overrides),
    }


def test_replacing_everything_leaves_nothing_of_before(store: Database):
    store.commit(EVERYTHING, 0)
    other = Inventory.of(40, [entry("other")])
    assert store.replace(other, [audit("restored")]) == 41
    found = store.read()
    assert (found.entries, found.certificates, found.tokens) == (other.entries, {}, {})
    assert [record.action for _, record in store.audit(0, 10)] == ["restored"]
    assert store.replay("a") is None
    assert store.replace(Inventory(), []) == 42
