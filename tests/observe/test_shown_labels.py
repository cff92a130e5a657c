"""Which keys have series of their own."""

from __future__ import annotations

from clb.observe.shown_labels import ShownKeys

SIZES = {"a": 1, "b": 5, "c": 3, "d": 4}


def part(shown, keys, sizes=SIZES):
    return shown.part(keys, lambda key: sizes.get(key, 0))


def test_all_of_a_few():
    assert part(ShownKeys(4), "abcd") == (["a", "b", "c", "d"], [])


def test_the_largest_of_many_in_their_order():
    assert part(ShownKeys(2), "abcd") == (["b", "d"], ["c", "a"])


def test_nobody_changes_sides():
    shown = ShownKeys(2)
    part(shown, "abcd")
    assert part(shown, "abcd", {"a": 100}) == (["b", "d"], ["c", "a"])


def test_a_free_place_is_for_the_new_and_others_stay_counted():
    shown = ShownKeys(2)
    part(shown, "abcd")
    assert part(shown, "ade") == (["d", "e"], ["c", "a"])
    assert part(shown, "def") == (["d", "e"], ["c", "a", "f"])
