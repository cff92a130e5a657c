"""kill -9 at every step of a write: what is found after it is the old state or the new one, never between."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from samples import audit, certificate, entry, material, replay, token
from sqlalchemy import event

from clb.store.database import Database, open_store, prepare_store
from clb.store.inventory import Kind, Write

OLD = Write(
    entries=(entry("shop"), entry("https", Kind.LISTENER, "shop"), entry("old", Kind.RULE, "https")),
    certificates=(certificate("web"),),
)
NEW = Write(
    entries=(
        replace(OLD.entries[0], document={"name": "other"}, version=2),
        entry("new", Kind.RULE, "https"),
        entry("target", Kind.TARGET, "new"),
    ),
    removed=frozenset({"old"}),
    certificates=(
        replace(OLD.certificates[0], previous=material(1), material=material(2), generation=2, previous_generation=1),
        certificate("other"),
    ),
    tokens=(token("ci"),),
    audit=(audit(),),
    replay=replay("a"),
)
MOST_STEPS = 100


def killed_at(step: int, store: Database, work: Callable[[Database], object]) -> bool:
    """Do the work in a process that is killed before its n-th word to the database; whether it was."""
    pid = os.fork()
    if pid == 0:
        said = 0

        def count(*_: object) -> None:
            nonlocal said
            said += 1
            if said == step:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            for each in ("before_cursor_execute", "commit"):
                event.listen(store.engine, each, count)
            work(store)
            # Behind the COMMIT, before anybody is told.
            count()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status)


def is_sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    found = connection.execute("PRAGMA integrity_check").fetchall()
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    connection.close()
    return found == [("ok",)] and not orphans


def test_kills_during_a_write(tmp_path: Path):
    outcomes = []
    for step in range(1, MOST_STEPS):
        directory = tmp_path / str(step)
        directory.mkdir()
        store = prepare_store(None, directory)
        store.commit(OLD, 0)
        old = store.read()
        store.close()
        was_killed = killed_at(step, open_store(None, directory), lambda each: each.commit(NEW, 1))
        again = prepare_store(None, directory)
        found = again.read()
        outcomes.append("new" if found == old.after(NEW) else "old")
        assert found in (old, old.after(NEW))
        assert len(again.audit(0, 10)) == (outcomes[-1] == "new")
        assert (again.replay("a") is not None) == (outcomes[-1] == "new")
        again.close()
        assert is_sound(directory / "clb.db")
        if not was_killed:
            break
    assert not was_killed, "more steps than were tried"
    assert outcomes[0] == "old"
    # The last one killed was behind its COMMIT.
    assert outcomes[-2:] == ["new", "new"]


def test_kills_during_a_migration(tmp_path: Path):
    for step in range(1, MOST_STEPS):
        directory = tmp_path / str(step)
        directory.mkdir()
        was_killed = killed_at(step, open_store(None, directory), lambda each: each.migrate())
        again = prepare_store(None, directory)
        assert again.revision() == 0
        assert again.commit(OLD, 0) == 1
        again.close()
        assert is_sound(directory / "clb.db")
        if not was_killed:
            return
    pytest.fail("more steps than were tried")
