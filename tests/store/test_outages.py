"""A database that goes away under those who use it: nothing that was acknowledged is lost, and it heals by itself."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cut import Cut, When, cut_before
from postgres import Postgres, postgres
from samples import audit, entry, replay
from sqlalchemy.engine import make_url

from clb.store.database import Database, open_store, prepare_store
from clb.store.interface import OutcomeUnknown, StaleRevision, StoreAway
from clb.store.inventory import Write

WAIT_S = 30.0
SHOP = entry("shop")


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that others do not use, since it is stopped."""
    with postgres() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, own_server: Postgres) -> Iterator[Database]:
    store = prepare_store(own_server.database(), tmp_path)
    yield store
    store.close()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


# --- PostgreSQL, stopped and started under reads and writes ---


class User(threading.Thread):
    """Writes one entry after another, as the writer of a node does; remembers what was acknowledged."""

    def __init__(self, store: Database, name: str, ended: threading.Event) -> None:
        super().__init__(name=name)
        self._store = store
        self._ended = ended
        self.acknowledged: set[str] = set()
        self.away = 0
        self.unexpected: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            try:
                self._write(f"{self.name}-{number}")
            except Exception as error:
                self.unexpected.append(repr(error))
                return

    def _write(self, name: str) -> None:
        """Until it is there, whatever happens; asking under its key whether it is when nobody can know."""
        answer = replay(name, created_at=datetime.now(UTC))
        while not self._ended.is_set():
            try:
                if self._store.replay(name) is None:
                    write = Write(entries=(entry(name),), audit=(audit(name),), replay=answer)
                    self._store.commit(write, self._store.revision())
            except StaleRevision:
                continue
            except (StoreAway, OutcomeUnknown):
                self.away += 1
                time.sleep(0.02)
                continue
            self.acknowledged.add(name)
            return


def test_no_acknowledged_write_is_lost(tmp_path: Path, own_server: Postgres):
    url = own_server.database()
    stores = [prepare_store(url, tmp_path) for _ in range(3)]
    ended = threading.Event()
    users = [User(each, f"user{number}", ended) for number, each in enumerate(stores)]
    follower = stores[0]
    waiting = threading.Thread(target=lambda: [follower.wait_for_change(-1, 1.0, ended.is_set) for _ in range(3)])
    for each in (*users, waiting):
        each.start()
    try:
        for _ in range(3):
            before = [len(each.acknowledged) for each in users]
            wait_until(lambda: sum(len(each.acknowledged) for each in users) > sum(before) + 20)  # noqa: B023
            outages = [each.away for each in users]
            own_server.stop()
            wait_until(lambda: all(each.away > was for each, was in zip(users, outages, strict=True)))  # noqa: B023
            own_server.start()
        before = [len(each.acknowledged) for each in users]
        wait_until(lambda: all(len(each.acknowledged) > was for each, was in zip(users, before, strict=True)))
    finally:
        ended.set()
        for each in (*users, waiting):
            each.join(WAIT_S)
    assert [each.unexpected for each in users] == [[], [], []]
    found = stores[0].read()
    acknowledged = set().union(*(each.acknowledged for each in users))
    assert acknowledged <= found.entries.keys()
    # What nobody was told of took place whole or not at all, and nothing took place twice.
    assert found.revision == len(found.entries)
    after, recorded = 0, []
    while page := stores[0].audit(after, 1000):
        recorded += [record.action for _, record in page]
        after = page[-1][0]
    assert sorted(recorded) == sorted(found.entries)
    for each in stores:
        each.close()


# --- a connection that is lost over a COMMIT ---


@pytest.fixture
def cut(own_server: Postgres, store: Database) -> Iterator[Cut]:
    with cut_before(Path(str(store.engine.url.query["host"]))) as cut:
        yield cut


@pytest.mark.parametrize(("when", "took_place"), [("before", False), ("behind", True)])
def test_the_key_says_what_became_of_a_lost_commit(tmp_path, store: Database, cut: Cut, when: When, took_place: bool):
    far = open_store(cut.url(store.engine.url), tmp_path)
    answer = replay("a", created_at=datetime.now(UTC))
    far.commit(Write(entries=(SHOP,)), 0)
    cut.arm(when)
    with pytest.raises(OutcomeUnknown, match="the connection was lost during COMMIT"):
        far.commit(Write(entries=(entry("b"),), audit=(audit(),), replay=answer), 1)
    # The same store settles it, on another connection.
    assert far.replay("a") == (answer if took_place else None)
    assert far.revision() == 1 + took_place
    assert ("b" in far.read().entries, len(far.audit(0, 10))) == (took_place, int(took_place))
    far.close()


def test_who_waits_hears_again_when_the_server_is_back(store: Database, own_server: Postgres, tmp_path: Path):
    other = open_store(store.engine.url.render_as_string(hide_password=False), tmp_path)
    assert not store.wait_for_change(0, 0.05, lambda: False)  # It listens by now.
    own_server.stop()
    assert not store.wait_for_change(0, 0.5, lambda: False)
    own_server.start()
    heard: list[float] = []

    def wait() -> None:
        if store.wait_for_change(0, WAIT_S, lambda: False):
            heard.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: listeners(other) > 0)
    wrote_at = time.monotonic()
    other.commit(Write(entries=(SHOP,)), 0)
    waiting.join(WAIT_S)
    # By notice, not by the polling behind it, which looks once a second.
    assert [at - wrote_at < 0.5 for at in heard] == [True]
    other.close()


def listeners(store: Database) -> int:
    with store.engine.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        found: int = connection.exec_driver_sql(asked.replace("%", "%%")).scalar_one()
        return found


def test_sessions_that_an_administrator_ends_are_replaced(store: Database, own_server: Postgres, tmp_path: Path):
    store.commit(Write(entries=(SHOP,)), 0)
    store.wait_for_change(1, 0.05, lambda: False)
    other = open_store(store.engine.url.render_as_string(hide_password=False), tmp_path)
    with other.engine.connect() as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.exec_driver_sql(ended + " AND datname = current_database()")
    assert store.commit(Write(entries=(entry("b"),)), 1) == 2
    assert store.wait_for_change(1, 5.0, lambda: False)
    other.close()


# --- the file of SQLite ---


def test_a_ruined_file_is_an_outage(tmp_path: Path):
    store = prepare_store(None, tmp_path)
    store.commit(Write(entries=(SHOP,)), 0)
    store.close()
    path = tmp_path / "clb.db"
    data = path.read_bytes()
    for ruins, said in ((b"ruins" * 5000, "not a database"), (data[:4096] + bytes(len(data) - 4096), "malformed")):
        path.write_bytes(ruins)
        with pytest.raises(StoreAway, match=said):
            prepare_store(None, tmp_path)
        again = open_store(None, tmp_path)
        for ask in (again.read, again.revision, lambda: again.commit(Write(entries=(entry("b"),)), 1)):  # noqa: B023
            with pytest.raises(StoreAway):
                ask()
        assert not again.wait_for_change(1, 0.05, lambda: False)
        again.close()
    path.write_bytes(data)
    again = prepare_store(None, tmp_path)
    assert again.read().entries == {"shop": SHOP}
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "clb-test", path], capture_output=True)
    if done.returncode != 0:
        pytest.skip("nothing may be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_disk_that_is_full_is_an_outage_until_there_is_room(small_disk: Path):
    store = prepare_store(None, small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    large = replace(SHOP, document={"text": "x" * 5000})
    written = fill(store, large)
    assert 0 < written < 100
    with pytest.raises(StoreAway, match="full"):
        store.commit(Write(entries=(large,)), written)
    assert store.revision() == written
    found = store.read()
    assert found.entries.keys() == {f"e-{number}" for number in range(written)}
    ballast.unlink()
    assert store.commit(Write(entries=(large,)), written) == written + 1
    store.close()
    with sqlite3.connect(small_disk / "clb.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def fill(store: Database, large: object) -> int:
    """Write until it is refused; how many were written."""
    for number in range(100):
        try:
            store.commit(Write(entries=(replace(large, id=f"e-{number}", key=f"e-{number}"),)), number)
        except StoreAway:
            return number
    return 100


def test_a_disk_that_is_read_only_is_an_outage(small_disk: Path):
    store = prepare_store(None, small_disk)
    store.commit(Write(entries=(SHOP,)), 0)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        # It may be readable or not, as the log of SQLite was left; nothing can be written.
        with closing(open_store(None, small_disk)) as store, pytest.raises(StoreAway):
            store.commit(Write(entries=(entry("b"),)), 1)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    again = prepare_store(None, small_disk)
    assert again.commit(Write(entries=(entry("b"),)), 1) == 2
    again.close()


# --- secrets ---


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://clb:hunter2@127.0.0.1:1/store",
        "postgresql://clb:hunter2@/store?host=/nowhere",
        "postgresql://clb@/store?host=/nowhere&password=hunter2",
        "postgresql://clb:hunter2@127.0.0.1:1/store?no_such_option=1",
        "postgresql://clb:hunter2@127.0.0.1:1/store?sslmode=hunter3",
    ],
)
def test_a_password_is_in_no_text(tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    assert make_url(url)
    store = open_store(url, tmp_path)
    said = []
    for ask in (store.read, store.migrate, lambda: store.commit(Write(entries=(SHOP,)), 0)):
        with pytest.raises(StoreAway) as raised:
            ask()
        said.append(str(raised.value))
    assert not store.wait_for_change(0, 0.05, lambda: False)
    assert "hunter2" not in " ".join(said) + caplog.text
    store.close()
