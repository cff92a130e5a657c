"""Which cases a word selects, and that the bounds are those that were promised."""

from __future__ import annotations

import pytest

from benchmarks.cases import CASES, select

SELECTIONS = {
    "whole": (["small"], ["small"]),
    "first_part": (["full-rsa"], ["full-rsa-13", "full-rsa-12"]),
    "twice_is_once": (["small", "small"], ["small"]),
    "group_and_member": (["resumed-12", "resumed"], ["resumed-12", "resumed-13"]),
    "order_as_given": (["idle", "1m"], ["idle", "1m"]),
    "part_of_a_part_is_no_group": (["1m", "10k"], ["1m", "10k"]),
}


@pytest.mark.parametrize(("words", "expected"), SELECTIONS.values(), ids=SELECTIONS)
def test_select(words: list[str], expected: list[str]) -> None:
    assert [case.name for case in select(words)] == expected


@pytest.mark.parametrize("word", ["", "smal", "ful", "nothing"])
def test_a_word_without_a_case_names_those_there_are(word: str) -> None:
    with pytest.raises(ValueError, match="small, 10k"):
        select([word])


def test_every_case_is_named_after_itself() -> None:
    assert all(name == case.name for name, case in CASES.items())


PROMISED = {
    "small": {"nginx": 1.5, "envoy": 1.0},
    "10k": {"nginx": 1.35},
    "1m": {"nginx": 1.1},
    "upload": {"nginx": 1.25},
    "full-ecdsa-13": {"nginx": 1.25, "envoy": 1.0},
    "full-rsa-12": {"nginx": 1.2, "envoy": 1.0},
    "resumed-13": {"nginx": 1.35, "envoy": 1.0},
    "chunked": {},
}


@pytest.mark.parametrize(("name", "bounds"), PROMISED.items(), ids=PROMISED)
def test_bounds(name: str, bounds: dict[str, float]) -> None:
    assert CASES[name].bounds == bounds
