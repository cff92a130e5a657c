"""The shared numbers of a node with two workers, as each of the two has them."""

from __future__ import annotations

import time

from clb.metering.cells import Cells
from clb.metering.keyed_cells import KeyedCells
from clb.proxy.node_share import NodeShare


class Rows(dict[str, int]):
    """Gives each key a row, the same one to all."""

    def __missing__(self, key: str) -> int:
        row = self[key] = len(self)
        return row


def two_workers() -> tuple[NodeShare, NodeShare]:
    """Both are alive, and see each other from the start."""
    now = time.monotonic()
    cells, keyed, rows = Cells(64, 3), KeyedCells(3), Rows()
    first, second = (NodeShare(cells, keyed, column, rows, now) for column in (1, 2))
    first.refresh(now)
    return first, second
