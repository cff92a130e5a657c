"""What fits together and what does not, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from samples import certificate, entry, material
from sqlalchemy import text

from clb.store.checkup import Unsound, check_up, demand_schema, record_faults
from clb.store.database import Database, open_store
from clb.store.interface import SchemaFault
from clb.store.inventory import Entry, Inventory, Kind, Write

TREE = (entry("shop"), entry("https", Kind.LISTENER, "shop"), entry("rule", Kind.RULE, "https"))
WEB = certificate("web", previous=material(2), generation=2, previous_generation=1)
GONE = material(3)


def test_what_clb_wrote_is_sound(store: Database):
    store.commit(Write(entries=TREE, certificates=(WEB,)), 0)
    assert check_up(store) == store.read()


def test_a_generation_that_went_away_is_told(store: Database):
    store.commit(Write(certificates=(WEB,)), 0)
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM materials WHERE generation = 1"))
    with pytest.raises(Unsound, match="certificate cert-web: its generation before is damaged or not there"):
        check_up(store)


def test_a_database_without_a_schema_is_told(tmp_path: Path, url: str):
    store = open_store(url, tmp_path)
    with pytest.raises(SchemaFault, match="nothing of clb in the database yet"):
        demand_schema(store)
    store.close()


def test_a_schema_of_before_is_told(opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch):
    store = opened()
    monkeypatch.setattr("clb.store.checkup.HEAD", "9999")
    with pytest.raises(SchemaFault, match="has schema 0002 and this clb's is 9999: run `clb store migrate`"):
        check_up(store)


@pytest.mark.parametrize(
    ("moved", "sound"),
    [
        (TREE[1], True),
        (replace(TREE[1], parent="rule"), False),
        (replace(TREE[1], kind=Kind.TARGET), False),
        (replace(TREE[1], parent="gone"), False),
    ],
    ids=["as_it_is", "below_a_rule", "a_target_of_a_load_balancer", "below_nothing"],
)
def test_every_kind_has_its_place(moved: Entry, sound: bool):
    found = record_faults(Inventory(entries={"shop": TREE[0], "https": moved}))
    assert found == ([] if sound else [f"{moved.kind} https hangs below what it cannot hang below"])


def test_not_all_faults_are_told_when_there_are_many():
    faults = record_faults(Inventory(entries={str(each): entry(str(each), Kind.RULE) for each in range(1000)}))
    assert len(faults) == 1000
    assert len(str(Unsound(faults)).splitlines()) == 20
