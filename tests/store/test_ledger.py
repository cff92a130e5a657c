"""The ledger's tables on both kinds of database: what is added once, rolled up, chained, summed up and pruned."""

from __future__ import annotations

import pytest

from clb.store.interface import StaleRevision
from clb.store.ledger import ClosedHour, LedgerWrite, NodeState, UsageRow
from clb.store.tables import USAGE_AMOUNTS

NODE = "node-1"
LISTENER, RULE = 2, 3
DAY = 86400


def row(start, key="shop/https", tenant="acme", kind=LISTENER, peak=0, since=None, **amounts):
    return UsageRow(start, kind, key, tenant, amounts, peak, since)


def write(*rows, positions=None, gone=(), at=60, minute=60):
    return LedgerWrite(rows, positions or {}, gone, NodeState(0, at, minute, 0))


def link(start, rows, before):
    sequence = before.sequence + 1 if before else 1
    return ClosedHour(NODE, sequence, start, len(rows), "d" * 64, f"{sequence:064d}", 1, 2, 0, 9, "k", "p", "s")


@pytest.fixture
def ledger(store):
    return store.ledger


def amounts(ledger, resolution, start):
    return {(each.key, each.tenant): dict(each.amounts) for each in ledger.rows(NODE, resolution, start)}


def test_rows_of_one_minute_add_up(ledger):
    state = ledger.write(NODE, NodeState(), write(row(60, wire_in=5, peak=3), row(60, tenant="", wire_in=1)))
    state = ledger.write(NODE, state, write(row(60, wire_in=2, billed_in=1, peak=2, since=7), row(60, "b", wire_in=9)))
    assert amounts(ledger, 60, 60) == {
        ("shop/https", "acme"): {"wire_in": 7, "billed_in": 1},
        ("shop/https", ""): {"wire_in": 1},
        ("b", "acme"): {"wire_in": 9},
    }
    first = next(each for each in ledger.rows(NODE, 60, 60) if each.tenant == "acme" and each.key == "shop/https")
    assert (first.open_peak, first.covers_from, first.node) == (3, 7, NODE)
    assert state == NodeState(2, 60, 60, 0)


def test_positions_go_with_the_rows(ledger):
    here = ("ab" * 16, LISTENER, "shop/https")
    there = ("ab" * 16, RULE, "shop/https a/")
    state = ledger.write(NODE, NodeState(), write(positions={here: {"wire_in": 5}, there: {"billed_in": 1}}))
    assert ledger.state(NODE) == (state, {here: {"wire_in": 5}, there: {"billed_in": 1}})
    state = ledger.write(NODE, state, write(positions={here: {"wire_in": 6}}, gone=[there]))
    assert ledger.state(NODE) == (state, {here: {"wire_in": 6}})
    assert ledger.state("other") == (NodeState(), {})


def test_whoever_read_an_older_state_writes_nothing(ledger):
    first = ledger.write(NODE, NodeState(), write(row(60, wire_in=5)))
    ledger.write(NODE, first, write(row(60, wire_in=1)))
    for known in (first, NodeState()):
        with pytest.raises(StaleRevision):
            ledger.write(NODE, known, write(row(60, wire_in=100), positions={("f", 2, "k"): {}}))
    assert amounts(ledger, 60, 60) == {("shop/https", "acme"): {"wire_in": 6}}
    assert ledger.state(NODE)[1] == {}


def test_nodes_keep_apart(ledger):
    ledger.write(NODE, NodeState(), write(row(60, wire_in=5)))
    ledger.write("node-2", NodeState(), write(row(60, wire_in=7)))
    assert amounts(ledger, 60, 60) == {("shop/https", "acme"): {"wire_in": 5}}
    assert set(ledger.nodes()) == {NODE, "node-2"}


def test_hours_are_rolled_up_once_and_chained(ledger):
    state = NodeState()
    for start in (0, 60, 300, 3540, 3600, 7200, DAY - 60, DAY + 60):
        state = ledger.write(
            NODE, state, write(row(start, wire_in=1, peak=start // 60), row(start, "r", kind=RULE, billed_in=2))
        )
    state = ledger.close_hours(NODE, state, 7200, link)
    state = ledger.close_hours(NODE, state, 7200, link)
    assert amounts(ledger, 300, 0) == {("shop/https", "acme"): {"wire_in": 2}, ("r", "acme"): {"billed_in": 4}}
    assert amounts(ledger, 3600, 0) == {("shop/https", "acme"): {"wire_in": 4}, ("r", "acme"): {"billed_in": 8}}
    assert amounts(ledger, 3600, 7200) == {}
    state = ledger.close_hours(NODE, state, DAY + 3600, link)
    assert amounts(ledger, DAY, 0) == {("shop/https", "acme"): {"wire_in": 7}, ("r", "acme"): {"billed_in": 14}}
    assert max(each.open_peak for each in ledger.rows(NODE, DAY, 0)) == (DAY - 60) // 60
    state = ledger.close_hours(NODE, state, 2 * DAY, link)
    assert amounts(ledger, DAY, DAY) == {("shop/https", "acme"): {"wire_in": 1}, ("r", "acme"): {"billed_in": 2}}
    hours = ledger.hours(NODE)
    assert [each.start for each in hours] == [0, 3600, 7200, DAY - 3600, DAY]
    assert [each.sequence for each in hours] == [1, 2, 3, 4, 5]
    assert hours[0] == link(0, [1, 2], None)
    assert [each.start for each in ledger.hours(NODE, 3600, DAY)] == [3600, 7200, DAY - 3600]
    with pytest.raises(StaleRevision):
        ledger.close_hours(NODE, NodeState(1, 0, 0, 0), 3 * DAY, link)


def test_sums(ledger):
    state = NodeState()
    for start in (0, 60, 300):
        rows = [
            row(start, wire_in=1, peak=2),
            row(start, "b", "other", wire_in=5),
            row(start, "r", kind=RULE, billed_in=1),
        ]
        state = ledger.write(NODE, state, write(*rows))
    found = ledger.sums([(NODE, 60, 0, 600)], LISTENER)
    assert {(each.key, each.tenant): each.amounts for each in found} == {
        ("shop/https", "acme"): {"wire_in": 3},
        ("b", "other"): {"wire_in": 15},
    }
    assert {each.tenant for each in ledger.sums([(NODE, 60, 0, 600)], LISTENER, tenant="other")} == {"other"}
    steps = ledger.sums([(NODE, 60, 0, 600)], LISTENER, every=300, tenant="acme")
    assert {each.start: each.amounts["wire_in"] for each in steps} == {0: 2, 300: 1}
    assert ledger.sums([(NODE, 60, 0, 60), (NODE, 60, 300, 360), ("x", 60, 0, 600)], RULE)[0].amounts == {
        "billed_in": 1
    }


def test_pruning_leaves_the_chain(ledger):
    state = ledger.write(NODE, NodeState(), write(row(0, wire_in=1), row(3600, wire_in=1)))
    ledger.close_hours(NODE, state, 7200, link)
    assert ledger.oldest(NODE) == {60: 0, 300: 0, 3600: 0}
    assert ledger.prune(NODE, {60: 3600, 300: 0, 3600: 3600}) == 2
    assert ledger.oldest(NODE) == {60: 3600, 300: 0, 3600: 3600}
    assert len(ledger.hours(NODE)) == 2


def test_large_numbers(ledger):
    most = dict.fromkeys(USAGE_AMOUNTS, (1 << 62) - 1)
    ledger.write(NODE, NodeState(), write(row(60, **most)))
    assert amounts(ledger, 60, 60) == {("shop/https", "acme"): most}


def test_a_restored_backup_leaves_the_ledger(store):
    store.ledger.write(NODE, NodeState(), write(row(60, wire_in=5)))
    store.replace(store.read(), ())
    assert amounts(store.ledger, 60, 60) == {("shop/https", "acme"): {"wire_in": 5}}
