"""Numbers with one writer each: columns, sums, and rows that are given out once."""

from __future__ import annotations

import os

import pytest

from clb.metering.cells import (
    CONTROL,
    FIELDS,
    NODE,
    Cells,
    Rows,
    TableFull,
    TargetField,
    TargetState,
    listener_key,
    rule_key,
    target_key,
)


def test_sums_are_of_the_workers_and_the_control_process_has_its_own_word() -> None:
    cells = Cells(4, 3)
    for number, column in enumerate(cells.columns):
        column[2 * FIELDS + TargetField.STATE] = 10**number
    assert cells.total(2, TargetField.STATE) == 110
    assert cells.control(2, TargetField.STATE) == 1
    assert cells.total(1, TargetField.STATE) == 0


def test_clearing_takes_out_what_one_process_left() -> None:
    cells = Cells(4, 3)
    for column in cells.columns:
        column[0] = column[3 * FIELDS] = 7
    cells.clear(1, used_rows=2)
    assert (cells.total(0, 0), cells.total(3, 0)) == (7, 14)  # The last row was not in use.
    assert cells.columns[CONTROL][0] == 7


def test_another_process_sees_the_same_memory() -> None:
    cells = Cells(2, 2)
    pid = os.fork()
    if pid == 0:
        cells.columns[1][FIELDS] = 42
        os._exit(0)
    os.waitpid(pid, 0)
    assert cells.total(1, 0) == 42


def test_a_key_keeps_its_row_and_no_row_is_given_out_twice() -> None:
    rows = Rows(5)
    first = rows.assign(["a", "b"])
    assert first == {NODE: 0, "a": 1, "b": 2}
    assert rows.assign(["b", "c"]) == {NODE: 0, "b": 2, "c": 3}
    assert rows.assign(["a"]) == {NODE: 0, "a": 1}
    assert rows.used == 4


def test_a_table_that_is_full_gives_nothing_out() -> None:
    rows = Rows(3)
    rows.assign(["a"])
    with pytest.raises(TableFull):
        rows.assign(["b", "c"])
    assert rows.used == 2
    assert rows.assign(["b", "a"])["b"] == 2


def test_who_takes_work() -> None:
    assert [state.name for state in TargetState if state.takes_work] == ["UNCHECKED", "HEALTHY", "PROVISIONAL"]


def test_keys_nest() -> None:
    rule = rule_key("shop", "https", "a.test", "/")
    assert rule.startswith(listener_key("shop", "https") + " ")
    assert target_key(rule, "10.0.0.1:80").startswith(rule + " ")
