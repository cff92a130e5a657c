"""The inventory never changes: writes make the next one, and what stayed is shared."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.store.inventory import PREFIXES, Entry, Inventory, Kind, Write, new_id

NOW = datetime(2026, 11, 25, tzinfo=UTC)
BELOW = {Kind.LOAD_BALANCER: Kind.LISTENER, Kind.LISTENER: Kind.RULE, Kind.RULE: Kind.TARGET}


def entry(name: str, kind: Kind, parent: str | None = None, position: int = 0, version: int = 1) -> Entry:
    return Entry(name, kind, parent, position, name, {"name": name}, version, NOW, NOW)


SHOP = entry("shop", Kind.LOAD_BALANCER)
HTTPS, HTTP = entry("https", Kind.LISTENER, "shop", 1), entry("http", Kind.LISTENER, "shop", 0)
RULE = entry("rule", Kind.RULE, "https")
TARGETS = tuple(entry(f"target-{number}", Kind.TARGET, "rule", number) for number in range(3))
ALL = (SHOP, HTTPS, HTTP, RULE, *TARGETS)


def test_children_come_in_the_order_of_their_positions():
    inventory = Inventory.of(7, reversed(ALL))
    assert [each.id for each in inventory.of_parent("shop")] == ["http", "https"]
    assert inventory.of_parent("rule") == TARGETS
    assert inventory.of_parent(None) == (SHOP,)


def test_below_is_the_whole_subtree():
    inventory = Inventory.of(7, ALL)
    assert inventory.below("https") == {"https", "rule", "target-0", "target-1", "target-2"}
    assert inventory.below("target-0") == {"target-0"}


@pytest.mark.parametrize(
    ("kind", "parent", "key", "found"),
    [
        (Kind.LISTENER, "shop", "http", HTTP),
        (Kind.LISTENER, "shop", "none", None),
        (Kind.RULE, "shop", "http", None),
        (Kind.LOAD_BALANCER, None, "shop", SHOP),
    ],
)
def test_find_by_natural_key(kind, parent, key, found):
    assert Inventory.of(1, ALL).named(kind, parent, key) is found


def test_a_write_leaves_the_inventory_before_as_it_was_and_shares_what_stayed():
    before = Inventory.of(7, ALL)
    heavier = replace(TARGETS[1], document={"weight": 50}, version=2)
    after = before.after(Write(entries=(heavier,)))
    assert (before.revision, after.revision) == (7, 8)
    assert before.entries["target-1"] is TARGETS[1]
    assert after.entries["target-1"] is heavier
    assert after.entries["shop"] is SHOP
    assert after.children["shop"] is before.children["shop"]
    assert after.certificates is before.certificates


def test_what_is_removed_is_found_nowhere():
    before = Inventory.of(7, ALL)
    after = before.after(Write(removed=before.below("https")))
    assert set(after.entries) == {"shop", "http"}
    assert after.of_parent("shop") == (HTTP,)
    assert after.of_parent("https") == after.of_parent("rule") == ()


def test_a_write_of_audit_records_alone_changes_nothing():
    assert not Write().changes_something
    assert Write(entries=(SHOP,)).changes_something


def test_ids_say_what_they_are_and_are_never_the_same():
    made = {new_id(PREFIXES[Kind.RULE]) for _ in range(1000)}
    assert len(made) == 1000
    assert all(each.startswith("rule-") and len(each) == 17 for each in made)


@st.composite
def histories(draw: st.DrawFn) -> list[Write]:
    """Writes that each hang new entries below what is there, change some, and remove others with all below."""
    inventory, writes = Inventory(), []
    for number in range(draw(st.integers(1, 8))):
        parents = [None, *(each.id for each in inventory.entries.values() if each.kind in BELOW)]
        parent = draw(st.sampled_from(parents))
        kind = Kind.LOAD_BALANCER if parent is None else BELOW[inventory.entries[parent].kind]
        new = entry(f"entry-{number}", kind, parent, draw(st.integers(0, 3)))
        removed: frozenset[str] = frozenset()
        others = [each for each in inventory.entries if parent is None or each not in _line(inventory, parent)]
        if others and draw(st.booleans()):
            removed = inventory.below(draw(st.sampled_from(others)))
        writes.append(Write(entries=(new,), removed=removed))
        inventory = inventory.after(writes[-1])
    return writes


def _line(inventory: Inventory, name: str | None) -> set[str]:
    found = set()
    while name is not None:
        found.add(name)
        name = inventory.entries[name].parent
    return found


@given(histories())
def test_step_by_step_is_the_same_as_all_at_once(writes):
    inventory = Inventory()
    for write in writes:
        inventory = inventory.after(write)
    anew = Inventory.of(inventory.revision, inventory.entries.values())
    assert inventory.entries == anew.entries
    with_children = {parent: ids for parent, ids in inventory.children.items() if ids}
    assert with_children == {parent: ids for parent, ids in anew.children.items() if ids}
