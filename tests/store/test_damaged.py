"""One flipped bit in a record of a certificate: everything else is read as it was, whatever becomes of that one.

A damaged record of what certificates are bound to says its name instead: without it the whole would be another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from samples import audit, certificate, entry, material, replay, token
from sqlalchemy import text

from clb.store.database import Database, prepare_store
from clb.store.interface import StoreAway
from clb.store.inventory import Write

COLUMNS = {
    **dict.fromkeys(("id", "name", "type", "generation", "previous_generation", "forced", "version"), "certificates"),
    **dict.fromkeys(("created_at", "updated_at", "replaced_at", "notified_days"), "certificates"),
    **dict.fromkeys(("chain_pem", "key_id", "wrapped", "sealed", "fingerprint", "key_digest"), "materials"),
    **dict.fromkeys(("not_before", "not_after"), "materials"),
}
DAMAGED = certificate("damaged", previous=material(2), generation=2, previous_generation=1, notified_days=7)
FINE = certificate("fine", material=material(3))


@pytest.fixture
def path(tmp_path):
    store = prepare_store(None, tmp_path)
    store.commit(Write(entries=(entry("shop"),), certificates=(DAMAGED, FINE), tokens=(token("t"),)), 0)
    store.close()
    return tmp_path / "clb.db"


def flips(value):
    """The value with one other bit, at several places, as SQLite would then find it: text may be no UTF-8."""
    if isinstance(value, int):
        yield from ((value ^ 1 << bit, "?") for bit in range(0, 62, 7))
        return
    data, cast = (value, "?") if isinstance(value, bytes) else (value.encode(), "CAST(? AS TEXT)")
    for bit in sorted({*range(8), *range(len(data) * 8 - 8, len(data) * 8), len(data) * 4}):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed), cast


@pytest.mark.parametrize(("column", "table"), COLUMNS.items(), ids=COLUMNS)
def test_all_others_are_read(path, tmp_path, column, table):
    key = "id" if table == "certificates" else "certificate"
    where = f"{key} = 'cert-damaged'" + (" AND generation = 2" if table == "materials" else "")
    database = sqlite3.connect(path)
    (original,) = database.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
    (row,) = database.execute(f"SELECT rowid FROM {table} WHERE {where}").fetchone()
    for value, cast in flips(original) if original is not None else ():
        database.execute(f"UPDATE {table} SET {column} = {cast} WHERE rowid = ?", (value, row))
        database.commit()
        store = prepare_store(None, tmp_path)
        found = store.read()
        store.close()
        assert found.certificates["cert-fine"] == FINE
        assert found.entries.keys() == {"shop"}
        assert found.tokens == {"tok-t": token("t")}
        assert len(found.certificates) == 2
    database.close()


SPOILED = {  # case: (what is done to the store, what is asked of it, what is said)
    "document": ("UPDATE entries SET document = '{\"na'", Database.read, "load_balancer shop is damaged"),
    "no_mapping": ("UPDATE entries SET document = '[]'", Database.read, "load_balancer shop is damaged"),
    "kind": ("UPDATE entries SET kind = 'ruin', parent = id", Database.read, "ruin shop is damaged"),
    "role": ("UPDATE tokens SET role = 'admim'", Database.read, "token tok-t is damaged"),
    "audit": ("UPDATE audit SET after = '{'", lambda store: store.audit(0, 1), "what was done at .* is damaged"),
    "replay": ("UPDATE replays SET headers = '{'", lambda store: store.replay("a"), "repeated request is damaged"),
}


@pytest.mark.parametrize(("spoil", "ask", "said"), SPOILED.values(), ids=SPOILED)
def test_a_damaged_record_says_its_name(store: Database, spoil: str, ask: Callable[[Database], object], said: str):
    at = datetime.now(UTC)
    write = Write(entries=(entry("shop"),), tokens=(token("t"),), audit=(audit(),), replay=replay("a", created_at=at))
    store.commit(write, 0)
    with store.engine.begin() as connection:
        connection.execute(text(spoil))
    with pytest.raises(StoreAway, match=said):
        ask(store)
    # It is mended by writing it once more.
    assert store.commit(Write(entries=(entry("shop"),), tokens=(token("t"),)), 1) == 2
    assert store.read().entries == {"shop": entry("shop")}
