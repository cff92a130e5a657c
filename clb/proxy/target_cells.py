"""A rule's targets in the numbers that the node's processes share.

Owns:      which of a target's numbers a worker publishes, and when: every half second, and the work under way at once
           where a scheduler counts the whole node's.
Elsewhere: the table (metering/cells.py); what a scheduler makes of the sums (balancing/shared_load.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from clb.balancing.candidate import Candidate
from clb.balancing.shared_load import SharedLoad
from clb.metering.cells import CONTROL, FIELDS, Cells, TargetField, target_key

if TYPE_CHECKING:
    from clb.proxy.pool import TargetPool
    from clb.proxy.rule import RuleRuntime

COUNTS_WHOLE_NODE = frozenset({"least_conn", "p2c_ewma"})
"""Schedulers that need to know what the other workers have under way."""


def join_cells(rule: RuleRuntime, key: str, cells: Cells, column: int, rows: Mapping[str, int]) -> None:
    """Let a rule's targets be counted over the whole node; to be called again when its targets or scheduler change.

    `key` is the rule's (`metering.cells.rule_key`), `column` this worker's.
    """
    others = [each for index, each in enumerate(cells.columns) if index not in (CONTROL, column)]
    own = cells.columns[column]
    is_asked_for = bool(others) and rule.config.scheduler in COUNTS_WHOLE_NODE
    for candidate in rule.candidates:
        row = rows.get(target_key(key, candidate.identity))
        candidate.shared = None
        candidate.payload.report = None
        if row is None:
            continue
        place = row * FIELDS
        candidate.payload.report = partial(publish, candidate, own[place : place + FIELDS])
        if is_asked_for:
            candidate.shared = SharedLoad(own, others, place + TargetField.IN_FLIGHT, place + TargetField.LATENCY_US)
    rule.scheduler.update(rule.candidates)


def publish(candidate: Candidate[TargetPool], cells: memoryview) -> None:
    """Write what the worker has at a target into its row."""
    pool = candidate.payload
    cells[TargetField.IN_FLIGHT] = candidate.in_flight
    cells[TargetField.PENDING] = pool.waiting
    cells[TargetField.CONNECTIONS] = pool.open_connections
    cells[TargetField.OPENINGS] = pool.openings
    cells[TargetField.AVOIDED] = pool.kept.avoided
