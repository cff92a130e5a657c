"""A view shows what has the right type and nothing else."""

from __future__ import annotations

from clb.config.checks.view import View

DATA = View(
    {"text": "a", "number": 1, "flag": True, "list": ("x", {"y": 1}), "empty": (), "map": {"z": 2}, "nil": None}, ()
)


def test_values_of_the_right_type() -> None:
    assert (DATA.text("text"), DATA.number("number"), DATA.flag("flag")) == ("a", 1, True)
    assert DATA.items("list") == ("x", {"y": 1})
    assert DATA.view("map").number("z") == 2
    assert [view.path for view in DATA.views("list")] == [("list", 1)]


def test_defaults_are_for_absent_keys_only() -> None:
    assert (DATA.text("none", "d"), DATA.number("none", 5), DATA.flag("none", True)) == ("d", 5, True)
    assert (DATA.text("nil", "d"), DATA.number("nil", 5), DATA.flag("nil", True)) == ("d", 5, True)
    assert (DATA.text("number", "d"), DATA.number("text", 5), DATA.flag("text", True)) == (None, None, None)


def test_a_truth_value_is_no_number() -> None:
    assert DATA.number("flag", 5) is None


def test_what_is_no_mapping_is_an_empty_one() -> None:
    assert not DATA.view("text").given("a")
    assert DATA.items("map") == ()
    assert DATA.views("text") == []


def test_an_empty_list_is_known_from_an_absent_one() -> None:
    assert [DATA.is_empty_list(key) for key in ("empty", "list", "nil", "none", "text")] == [True] + [False] * 4
