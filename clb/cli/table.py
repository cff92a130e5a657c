"""Lists as columns of text, for terminals and pipes alike.

Owns:      the widths.
Elsewhere: what stands in them.
Pure:      words in, lines out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A line for the head and one for each row; nothing is cut off, and no line ends in blanks."""
    every = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    for row in every:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
