"""Remember where everything in one configuration file stands.

Owns:      the way from a path in the document to `file:line:col`.
Elsewhere: reading the text (document.py); the service layer uses `fault` for what the keys point to.
Pure:      made once from a parsed document, then only looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path as FilePath

from clb.config.document import Node, Place
from clb.config.faults import Fault, Path, Problem, spell


class Source:
    """One file and its document."""

    def __init__(self, file: FilePath, root: Node) -> None:
        self.file = file
        self._root = root

    @property
    def directory(self) -> FilePath:
        """What relative file names of the document are relative to."""
        return self.file.absolute().parent

    @property
    def data(self) -> object:
        """The document as plain data."""
        return self._root.value

    def place(self, path: Path, *, of_key: bool = False) -> Place:
        """Where the value (or its key) stands; of a missing one, where the nearest value around it stands."""
        node = self._root
        place = node.place
        for depth, step in enumerate(path):
            child = node.child(step)
            if child is None:
                return place
            is_last = depth == len(path) - 1
            place = node.keys[step] if is_last and of_key and isinstance(step, str) else child.place
            node = child
        return place

    def fault(self, problem: Problem) -> Fault:
        """The problem at its place."""
        place = self.place(problem.path, of_key=problem.where == "key")
        return Fault(str(self.file), place.line, place.column, spell(problem.path), problem.message)

    def faults(self, problems: Iterable[Problem]) -> list[Fault]:
        """All of them, sorted by place."""
        return sorted({self.fault(problem) for problem in problems})
