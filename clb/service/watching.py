"""Notice that a file of the configuration has changed (`node.watch`).

Owns:      which changes count, and that one that is still going on does not count yet.
Elsewhere: reloading (reload.py).

Once a second each file is asked for its identity, through symbolic links: an orchestrator that swaps a link changes
the identity of all files behind it at once. A change is taken up when it has been the same for two looks, so that a
certificate and its key that are written one after the other come together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_Look = dict[Path, tuple[int, ...] | None]


class FileWatch:
    """Asked again and again."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._known = look(files)
        self._last = self._known

    def follow(self, files: Iterable[Path]) -> None:
        """Another configuration names other files. What is the same is not looked at anew: it may have changed."""
        names = list(files)
        fresh = look(name for name in names if name not in self._known)
        self._known = {name: self._known.get(name, fresh.get(name)) for name in names}
        self._last = self._known

    def seen(self) -> None:
        """A reload begins: it takes all that has changed until now."""
        self._known = self._last = look(self._known)

    def has_changed(self) -> bool:
        """Whether files have changed since the last time this said so, and are at rest again."""
        now = look(self._known)
        is_at_rest, self._last = now == self._last, now
        if now == self._known or not is_at_rest:
            return False
        self._known = now
        return True


def look(files: Iterable[Path]) -> _Look:
    """What tells one state of a file from another; None if there is no such file."""
    return {file: _identity(file) for file in files}


def _identity(file: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
