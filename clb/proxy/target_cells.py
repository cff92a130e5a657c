"""A target in the numbers that the node's processes share.

Owns:      which of its numbers a worker publishes every half second, and the row in which schedulers look.
Elsewhere: the table (metering/cells.py); the worker's column (node_share.py); work under way, which a scheduler that
           counts the whole node's publishes at once (balancing/shared_load.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from clb.balancing.candidate import Candidate
from clb.balancing.shared_load import SharedLoad
from clb.metering.cells import FIELDS, TargetCount, TargetField

if TYPE_CHECKING:
    from clb.proxy.node_share import NodeShare
    from clb.proxy.pool import TargetPool


def join_cells(candidate: Candidate[TargetPool], key: str, share: NodeShare) -> None:
    """Let a target be counted over the whole node, if it has a row; `key` is its `target_key`.

    To be called before a scheduler is made of it.
    """
    row = share.rows.get(key)
    if row is None:
        return
    place = row * FIELDS
    candidate.payload.report = partial(publish, candidate, share.own[place : place + FIELDS])
    candidate.shared = SharedLoad(share, place + TargetField.IN_FLIGHT, place + TargetField.LATENCY_US)


def publish(candidate: Candidate[TargetPool], cells: memoryview) -> None:
    """Write what the worker has at a target into its row."""
    pool = candidate.payload
    cells[TargetField.IN_FLIGHT] = candidate.in_flight
    cells[TargetField.PENDING] = pool.waiting
    cells[TargetField.CONNECTIONS] = pool.open_connections
    cells[TargetCount.OPENINGS] = pool.openings
    cells[TargetCount.AVOIDED] = pool.kept.avoided
