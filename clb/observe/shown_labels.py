"""Which rules and targets have metrics of their own, when there are more than a monitoring system should be given.

Owns:      the bound, and that nothing moves between its own series and `other`, which would look like a reset.
Elsewhere: the metrics (metrics.py); exact numbers of everything are in status and in the counters.
Pure:      keys and sizes in, two groups of keys out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

OTHER = "other"
"""The label of those that are added up."""


class ShownKeys:
    """The first time, the largest are chosen; later ones get what places are free when they are first met."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shown: set[str] = set()
        self._others: dict[str, None] = {}

    def part(self, keys: Iterable[str], size: Callable[[str], float]) -> tuple[list[str], list[str]]:
        """Return those with series of their own, in the order given, and all that were ever put in `other`.

        Of the latter some may be gone from the configuration: what they counted stays in the sum.
        """
        present = list(keys)
        self._shown &= set(present)
        new = [key for key in present if key not in self._shown and key not in self._others]
        free = self._most - len(self._shown)
        if len(new) > free:
            new.sort(key=size, reverse=True)
        self._shown.update(new[:free])
        self._others.update(dict.fromkeys(new[free:]))
        return [key for key in present if key in self._shown], list(self._others)
