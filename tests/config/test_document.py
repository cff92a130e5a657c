"""YAML as clb reads it: places, types, bounds."""

from __future__ import annotations

import pytest

from clb.config import document
from clb.config.document import DocumentError, Place, parse

TYPES = {
    "text": ("a", "a"),
    "yes_is_text": ("yes", "yes"),
    "off_is_text": ("off", "off"),
    "true": ("true", True),
    "false": ("False", False),
    "nothing": ("", None),
    "tilde": ("~", None),
    "null": ("null", None),
    "number": ("443", 443),
    "negative": ("-1", -1),
    "octal_is_text": ("0443", "0443"),
    "sexagesimal_is_text": ("1:30", "1:30"),
    "date_is_text": ("2026-01-01", "2026-01-01"),
    "hexadecimal_is_text": ("0x1F", "0x1F"),
    "infinity_is_text": (".inf", ".inf"),
    "decimal": ("0.2", 0.2),
    "huge_is_text": ("9" * 5000, "9" * 5000),
    "quoted_number": ('"443"', "443"),
    "quoted_nothing": ("''", ""),
    "block": ("|\n  x\n  y", "x\ny\n"),
    "list": ("[1, a]", (1, "a")),
    "mapping": ("{b: {c: 1}}", {"b": {"c": 1}}),
}
REFUSED = {
    "empty": (b"", (1, 1), "the file is empty"),
    "comment_only": (b"# nothing\n", (1, 1), "the file is empty"),
    "two_documents": (b"a: 1\n---\nb: 2\n", (2, 1), "a second document"),
    "latin_1": (b"a: 1\nb: caf\xe9\n", (2, 7), "not UTF-8"),
    "utf_16": ("a: 1".encode("utf-16"), (1, 1), "not UTF-8"),
    "control_character": (b"a: 1\nb: x\x00\n", (2, 5), "U+0000"),
    "line_separator": ("a: x\u2028y\n".encode(), (1, 5), "U+2028"),
    "tab": (b"a:\n\tb: 1\n", (2, 1), "tab character; YAML is indented with spaces"),
    "tab_in_list": (b"a:\n  - b: 1\n\t  c: 2\n", (3, 1), "tab character; YAML is indented with spaces"),
    "second_colon": (b"a: b: c\n", (1, 5), "quote text"),
    "open_quote": (b'a: "x\n', (2, 1), "never closed"),
    "open_list": (b"a: [1\nb: 2\n", (2, 2), "neither goes on"),
    "open_mapping": (b"a: {b: 1\n", (2, 1), "neither goes on"),
    "bad_indentation": (b"a: 1\n b: 2\n", (2, 3), "wrong indentation"),
    "list_among_keys": (b"a: 1\n- b\n", (2, 1), "no key where one must be"),
    "start_character": (b"a: @x\n", (1, 4), "cannot start with"),
    "tag": (b"a: !!python/object:os.system x\n", (1, 4), "tags are not read"),
    "known_tag": (b"a: !!str 1\n", (1, 4), "tags are not read"),
    "tag_on_list": (b"a: !!set [1]\n", (1, 4), "tags are not read"),
    "unknown_alias": (b"a: *b\n", (1, 4), "the alias *b names no value"),
    "alias_of_itself": (b"a: &a [*a]\n", (1, 8), "the alias *a names no value"),
    "alias_as_key": (b"a: &a x\n*a : 1\n", (2, 1), "a key must be plain text"),
    "merge_key": (b"a: &a {b: 1}\nc:\n  <<: *a\n", (3, 3), "merge keys"),
    "list_as_key": (b"? [a]\n: 1\n", (1, 3), "a key must be plain text"),
    "deep": (b"[" * 40, (1, 33), "nested too deep"),
    "very_deep": (b"[" * 100_000, (1, 1001), "nested too deep"),
    "deep_mapping": (b"{a: " * 40, (1, 129), "nested too deep"),
}


@pytest.mark.parametrize(("text", "value"), TYPES.values(), ids=TYPES)
def test_types(text: str, value: object) -> None:
    root, slips = parse(f"a: {text}\n".encode())
    assert root.value == {"a": value}
    assert type(root.value["a"]) is type(value)
    assert not slips


@pytest.mark.parametrize(("data", "place", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, place: tuple[int, int], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(data)
    assert message in caught.value.message
    assert caught.value.place == Place(*place)


def test_every_key_and_value_has_its_place() -> None:
    root, _ = parse(b"node:\n  name: x\nlist:\n  - a: 1\n    b: [2, 3]\n")
    assert root.keys == {"node": Place(1, 1), "list": Place(3, 1)}
    node, items = root.child("node"), root.child("list")
    assert node is not None
    assert items is not None
    assert node.keys == {"name": Place(2, 3)}
    assert node.child("name").place == Place(2, 9)  # type: ignore[union-attr]
    b = items.child(0).child("b")  # type: ignore[union-attr]
    assert b is not None
    assert (b.place, b.child(1).place) == (Place(5, 8), Place(5, 12))  # type: ignore[union-attr]


def test_there_is_no_child_where_none_is() -> None:
    root, _ = parse(b"a: [1]\n")
    items = root.child("a")
    assert items is not None
    assert items.child(0) is not None
    assert [root.child("b"), root.child(0), items.child(1), items.child("a"), items.child(0).child(0)] == [None] * 5  # type: ignore[union-attr]


def test_a_byte_order_mark_is_no_fault() -> None:
    root, _ = parse(b"\xef\xbb\xbfa: 1\n")
    assert root.keys == {"a": Place(1, 1)}


def test_a_key_given_twice_is_told_with_both_places_and_the_rest_is_read() -> None:
    root, slips = parse(b"a: 1\nb: {c: 1, c: [2, {d: 3}]}\na: {x: 1}\n")
    assert root.value == {"a": 1, "b": {"c": 1}}
    assert slips == [
        (Place(2, 11), 'the key "c" is given twice; the first one stands at line 2, column 5'),
        (Place(3, 1), 'the key "a" is given twice; the first one stands at line 1, column 1'),
    ]


def test_an_alias_stands_for_the_same_value() -> None:
    root, _ = parse(b"a: &x {b: [1, 2]}\nc: *x\n")
    assert root.value == {"a": {"b": (1, 2)}, "c": {"b": (1, 2)}}


def test_a_billion_laughs_end_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(DocumentError, match="aliases expand to more than"):
        parse("\n".join(lines).encode())


def test_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAXIMUM_BYTES", 3)
    with pytest.raises(DocumentError, match="larger than"):
        parse(b"a: 1\n")
