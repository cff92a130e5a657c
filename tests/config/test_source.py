"""From a path in the document to a place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from clb.config.document import Place, parse
from clb.config.faults import Problem
from clb.config.source import Source

SOURCE = Source(Path("a/clb.yaml"), parse(b"node:\n  name: x\nlist:\n  - a: 1\n")[0])

PLACES = {
    "root": ((), False, (1, 1)),
    "value": (("node", "name"), False, (2, 9)),
    "key": (("node", "name"), True, (2, 3)),
    "mapping": (("node",), False, (2, 3)),
    "item": (("list", 0), True, (4, 5)),
    "missing_key": (("node", "nam"), False, (2, 3)),
    "missing_item": (("list", 1, "a"), False, (4, 3)),
    "below_text": (("node", "name", "x"), True, (2, 9)),
    "all_missing": (("nod", "x"), True, (1, 1)),
}


@pytest.mark.parametrize(("path", "of_key", "place"), PLACES.values(), ids=PLACES)
def test_place(path: tuple[str | int, ...], of_key: bool, place: tuple[int, int]) -> None:
    assert SOURCE.place(path, of_key=of_key) == Place(*place)


def test_faults_are_sorted_and_told_once() -> None:
    late, early = Problem(("list", 0, "a"), "m"), Problem(("node", "name"), "k", "key")
    assert list(map(str, SOURCE.faults([late, early, late]))) == [
        "a/clb.yaml:2:3: node.name: k",
        "a/clb.yaml:4:8: list[0].a: m",
    ]


def test_the_directory_is_absolute() -> None:
    assert SOURCE.directory == Path.cwd() / "a"
