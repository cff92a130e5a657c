"""The control process's fields of the targets' rows: what workers obey, and what its successor begins with.

Owns:      writing and reading these fields; the two clocks.
Elsewhere: the layout (metering/cells.py); what they mean to a worker (health_view.py).

Decisions are made by a clock that nobody sets; what is written for others is wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from clb.health.rule_health import TargetRecord
from clb.health.state import Remembered, State
from clb.metering.cells import CONTROL, FIELDS, Cells, TargetField

_KNOWN_STATES = frozenset(int(state) for state in State)


class Clocks:
    """A steady clock, and wall time derived from it."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float] = time.monotonic) -> None:
        self.now = steady
        self.wall = wall

    def to_wall(self, at: float) -> float:
        """Return the wall time of an instant, by the offset that holds now."""
        return at + self.wall() - self.now()

    def from_wall(self, at: float) -> float:
        """Return the instant of a wall time."""
        return at - self.wall() + self.now()


class HealthCells:
    """See above. Keys are those of targets."""

    def __init__(self, cells: Cells, clocks: Clocks) -> None:
        self._own = cells.columns[CONTROL]
        self._clocks = clocks
        self.rows: Mapping[str, int] = {}
        """Of the configuration in service."""

    def write(self, key: str, record: TargetRecord) -> None:
        """Say how a target stands."""
        row = self.rows.get(key)
        if row is None:
            return
        own, place, to_wall = self._own, row * FIELDS, self._clocks.to_wall
        since = record.serves_since if record.state.takes_work else record.since
        until = record.ejected_until
        # Rounded, not cut off: each process that takes over turns wall time into its own and back.
        # The state comes last: a worker that reads between two of these is told to read again.
        own[place + TargetField.SINCE_MS] = round(to_wall(since) * 1000)
        own[place + TargetField.UNTIL_MS] = round(to_wall(until) * 1000) if until is not None else 0
        own[place + TargetField.EJECTIONS] = record.ejections
        own[place + TargetField.STATE] = record.state

    def forget(self, key: str) -> None:
        """Leave nothing of a target that is gone: should it come back, it is new."""
        row = self.rows.get(key)
        if row is not None:
            place = row * FIELDS
            for field in (TargetField.STATE, TargetField.SINCE_MS, TargetField.UNTIL_MS, TargetField.EJECTIONS):
                self._own[place + field] = 0

    def remembered(self, key: str) -> Remembered | None:
        """Return what an earlier control process of this node wrote."""
        row = self.rows.get(key)
        if row is None:
            return None
        own, place = self._own, row * FIELDS
        since_ms, state = own[place + TargetField.SINCE_MS], own[place + TargetField.STATE]
        if not since_ms or state not in _KNOWN_STATES:
            return None
        until_ms = own[place + TargetField.UNTIL_MS]
        return Remembered(
            State(state),
            self._clocks.from_wall(since_ms / 1000),
            self._clocks.from_wall(until_ms / 1000) if until_ms else None,
            own[place + TargetField.EJECTIONS],
        )
