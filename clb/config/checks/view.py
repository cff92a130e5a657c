"""Look at data that may be wrong anywhere.

Owns:      reading a mapping of the document: what has the right type is there, all else is absent.
Elsewhere: complaining about wrong types (the models do that).
Pure:      a view never changes what it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clb.config.faults import Path


class View:
    """One mapping of the document and its path."""

    def __init__(self, value: object, path: Path) -> None:
        self._data: Mapping[str, object] = value if isinstance(value, Mapping) else {}
        self.path = path

    def at(self, *steps: str | int) -> Path:
        """The path of something inside."""
        return (*self.path, *steps)

    def given(self, key: str) -> bool:
        """Whether the key stands there with any value at all."""
        return self._data.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str | None:
        """The text under the key; `default` only if the key is absent, None if it is no text."""
        value = self._data.get(key)
        return default if value is None else value if isinstance(value, str) else None

    def number(self, key: str, default: int | None = None) -> int | None:
        """The whole number under the key, in the same way."""
        value = self._data.get(key)
        if value is None:
            return default
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, key: str, default: bool = False) -> bool | None:
        """The truth value under the key, in the same way."""
        value = self._data.get(key)
        return default if value is None else value if isinstance(value, bool) else None

    def items(self, key: str) -> tuple[object, ...]:
        """The list under the key."""
        value = self._data.get(key)
        return tuple(value) if isinstance(value, tuple | list) else ()

    def is_empty_list(self, key: str) -> bool:
        """Whether a list stands there that lists nothing."""
        return self._data.get(key) in ((), [])

    def view(self, key: str) -> View:
        """The mapping under the key, empty if there is none."""
        return View(self._data.get(key), self.at(key))

    def views(self, key: str) -> list[View]:
        """The mappings in the list under the key."""
        return [
            View(item, self.at(key, index)) for index, item in enumerate(self.items(key)) if isinstance(item, Mapping)
        ]

    def named(self) -> Iterator[tuple[str, View]]:
        """All keys with the mappings under them."""
        for key in self._data:
            yield key, self.view(key)
