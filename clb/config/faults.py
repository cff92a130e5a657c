"""Say what is wrong with a configuration file, and where.

Owns:      the shape of a fault and the one exception that carries all of them.
Elsewhere: finding faults (translate.py, checks/), giving them a place (source.py).
Pure:      plain values; a secret never gets into a message, see `quote`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Path = tuple[str | int, ...]
"""The way from the root of the document to a value: `("load_balancers", 0, "name")`."""

_LONGEST_ECHO = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault that knows its path in the document but not yet its line."""

    path: Path
    message: str
    where: Literal["key", "value"] = "value"
    """Whether to point at the key (it should not be here) or at its value (it should be another)."""
    is_warning: bool = False
    """A warning is shown and stops nothing."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault at its place; ordered by place, so a sorted list reads like the file."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}:{self.column}: {key}{self.message}"


class ConfigErrors(Exception):
    """Everything that is wrong with one file, sorted by place."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: list[Fault] = sorted(set(faults))
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


def spell(path: Path) -> str:
    """`("load_balancers", 0, "name")` as `load_balancers[0].name`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{_printable(step)}" if text else _printable(step)
    return text


def quote(value: object) -> str:
    """A value of the file as a message may show it: short, printable and never a private key."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if not isinstance(value, str):
        return str(value)
    if _is_pem(value):
        return "the text of a PEM file"
    return f'"{_printable(value)}"'


def said(value: object) -> str:
    """The first half of a fault: what the value is."""
    return "has no value" if value is None else f"is {quote(value)}"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely a misspelling of."""
    lowered = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower()[:_LONGEST_ECHO], list(lowered), n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def any_of(words: Sequence[str]) -> str:
    """`["a", "b", "c"]` as `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _is_pem(text: str) -> bool:
    # Whoever pastes a key where a file name belongs must not find it in a log.
    return "-----" in text or "PRIVATE KEY" in text


def _printable(text: str) -> str:
    if _is_pem(text):
        return "..."
    shown = text if len(text) <= _LONGEST_ECHO else text[: _LONGEST_ECHO - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
