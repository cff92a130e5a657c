"""Read YAML into plain data that remembers the place of every key and value.

Owns:      the subset of YAML that clb accepts, and its bounds (size, depth, what aliases may expand to).
Elsewhere: what the keys mean (models.py); turning places into faults (source.py).
Pure:      bytes in, nodes and problems out.

The document is built from parser events, not from a composed graph: so nothing recurses, whatever is nested,
and the types of scalars are ours. YAML 1.1 would read `off` as false, `0443` as 291 and `1:30` as 90.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from clb.config.faults import quote

MAXIMUM_BYTES = 16 << 20
MAXIMUM_DEPTH = 32
MAXIMUM_ALIASED = 200_000
"""How many values all aliases together may stand for; a "billion laughs" file stops here."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}", re.ASCII)
_WORDS = {"true": True, "True": True, "false": False, "False": False}
_NULLS = frozenset({"", "~", "null", "Null"})
# What YAML calls printable, less the characters that it takes for line breaks but nobody can see.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_SENTENCES = {
    "mapping values are not allowed in this context": (
        'a second ": " on this line, or a wrong indentation; quote text that contains ": "'
    ),
    "found character that cannot start any token": "text cannot start with this character; quote it",
    "exceeded maximum nesting depth": f"nested too deep; at most {MAXIMUM_DEPTH} levels are read",
    "did not find expected key": "no key where one must be; check indentation and quotes around here",
    "did not find expected '-' indicator": 'no list item where one must be; check indentation, "- " starts one',
    "did not find expected node content": "a value is missing here",
    "did not find expected ',' or ']'": 'the list in [...] neither goes on (",") nor ends ("]") here',
    "did not find expected ',' or '}'": 'the mapping in {...} neither goes on (",") nor ends ("}") here',
    "found unexpected end of stream": "a quoted text is never closed",
    "found unknown escape character": "an unknown escape; in double quotes write \\\\ for a backslash",
    "could not find expected ':'": 'a key without a value; write "key: value"',
}


class Place(NamedTuple):
    """Line and column, both counted from one."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(slots=True)
class Node:
    """One value of the document; `value` is plain data (str, int, float, bool, None, dict, tuple)."""

    place: Place
    value: Any = None
    keys: dict[str, Place] = field(default_factory=dict)
    children: dict[str, Node] | list[Node] | None = None
    weight: int = 1
    """This value and all below it, every alias counted in full."""

    def child(self, step: str | int) -> Node | None:
        """The value one step down, if there is one."""
        if isinstance(self.children, dict):
            return self.children.get(step) if isinstance(step, str) else None
        if isinstance(self.children, list) and isinstance(step, int) and step < len(self.children):
            return self.children[step]
        return None


class DocumentError(Exception):
    """The text is not YAML as clb reads it; nothing after this place was understood."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


class Slip(NamedTuple):
    """A fault that does not keep the rest from being read (a key given twice)."""

    place: Place
    message: str


def parse(data: bytes) -> tuple[Node, list[Slip]]:
    """The document as nodes; raises `DocumentError` when it cannot be read on."""
    text = _decode(data)
    builder = _Builder()
    events = _events(text)
    for event in events:
        builder.take(event)
    if builder.root is None:
        raise DocumentError(Place(1, 1), 'the file is empty; the smallest useful one has "load_balancers:"')
    return builder.root, builder.slips


def _decode(data: bytes) -> str:
    if len(data) > MAXIMUM_BYTES:
        raise DocumentError(Place(1, 1), f"the file is larger than {MAXIMUM_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        raise DocumentError(_end_of(before), "not UTF-8 text; save the file as UTF-8") from None
    if found := _FORBIDDEN.search(text):
        name = f"U+{ord(found.group()):04X}"
        raise DocumentError(_end_of(text[: found.start()]), f"the invisible character {name}; remove it")
    return text


def _end_of(text: str) -> Place:
    lines = text.split("\n")
    return Place(len(lines), len(lines[-1]) + 1)


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        assert mark is not None, "libyaml marks every error of the text"
        # What is missing at the end is missed on the line after it, even if the text has no such line.
        place = min(Place(mark.line + 1, mark.column + 1), _end_of(text))
        raise DocumentError(place, _translate(error, _character(text, place))) from None
    except yaml.YAMLError:
        raise DocumentError(Place(1, 1), "not YAML") from None


def _character(text: str, place: Place) -> str:
    line = text.split("\n")[place.line - 1 : place.line]
    return "".join(line)[place.column - 1 : place.column]


def _translate(error: yaml.MarkedYAMLError, character: str) -> str:
    problem = error.problem or ""
    if character == "\t":
        return "a tab character; YAML is indented with spaces"
    if problem in _SENTENCES:
        return _SENTENCES[problem]
    return f"not YAML: {problem}{f' {error.context}' if error.context else ''}"


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    assert mark is not None, "libyaml marks every event"
    return Place(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet."""

    node: Node
    anchor: str | None
    key: str | None = None
    has_key: bool = False


class _Builder:
    """Takes events one by one; `root` is valid after the last."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.slips: list[Slip] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._aliased = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise DocumentError(_place(event), 'a second document; remove the "---" between the two')

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        if self._awaits_key():
            self._key(event)
            return
        node = Node(_place(event), _plain(event.value) if event.implicit[0] else event.value)
        self._remember(event.anchor, node)
        self._add(node)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        self._refuse_tag(event)
        if self._awaits_key():
            raise DocumentError(_place(event), "a key must be plain text, not a mapping or a list")
        if len(self._stack) >= MAXIMUM_DEPTH:
            raise DocumentError(_place(event), _SENTENCES["exceeded maximum nesting depth"])
        node = Node(_place(event))
        if isinstance(event, yaml.MappingStartEvent):
            node.value, node.children = {}, {}
        else:
            node.children = []
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> None:
        closed = self._stack.pop()
        if isinstance(closed.node.children, list):
            closed.node.value = tuple(child.value for child in closed.node.children)
        # Only now, so that an alias inside what it names finds nothing and no cycle can arise.
        self._remember(closed.anchor, closed.node)
        self._add(closed.node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        node = self._anchors.get(name)
        if node is None:
            raise DocumentError(_place(event), f"the alias *{name[:40]} names no value above it")
        if self._awaits_key():
            raise DocumentError(_place(event), "a key must be plain text, not an alias")
        self._aliased += node.weight
        if self._aliased > MAXIMUM_ALIASED:
            raise DocumentError(_place(event), f"aliases expand to more than {MAXIMUM_ALIASED} values")
        self._add(node)

    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].node.children, dict) and not self._stack[-1].has_key

    def _key(self, event: yaml.ScalarEvent) -> None:
        mapping, place = self._stack[-1], _place(event)
        if event.value == "<<" and event.implicit[0]:
            raise DocumentError(place, "merge keys (<<) are not read; write the keys out or alias a whole value")
        mapping.key, mapping.has_key = event.value, True
        first = mapping.node.keys.get(event.value)
        if first is None:
            mapping.node.keys[event.value] = place
            return
        mapping.key = None  # the value that follows is read and dropped: the first one stands
        self.slips.append(Slip(place, f"the key {quote(event.value)} is given twice; the first one stands at {first}"))

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.node.weight += node.weight
        if isinstance(parent.node.children, list):
            parent.node.children.append(node)
            return
        if parent.key is not None and isinstance(parent.node.children, dict):
            parent.node.children[parent.key] = node
            parent.node.value[parent.key] = node.value
        parent.key, parent.has_key = None, False

    def _remember(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    @staticmethod
    def _refuse_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None and event.tag != "!":
            raise DocumentError(_place(event), "a YAML tag (!...); tags are not read, quote a value to make it text")


def _plain(text: str) -> object:
    """The type of an unquoted scalar: the words of YAML 1.2, decimal numbers, else text."""
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text
