"""Whether a worker has more to do than it gets done.

Owns:      the judgement, by how late the loop is for the sweep.
Elsewhere: measuring that (sweep.py); what is done about it (admission.py).
Pure:      lateness in, a verdict out.
"""

from __future__ import annotations

CALM_SHARE = 0.5
"""Calm is half of what makes a worker saturated, so that it does not waver at the line."""
IN_A_ROW = 2


class Saturation:
    """Changes its mind only after two sweeps in a row that say so: one late sweep may be anything."""

    def __init__(self, threshold_s: float) -> None:
        self.threshold_s = threshold_s
        """0 switches it off."""
        self.is_saturated = False
        self._against = 0

    def look(self, lag_s: float) -> bool:
        """Take the lateness of one sweep; tell whether the verdict has changed."""
        if not self.threshold_s:
            disagrees = self.is_saturated
        elif self.is_saturated:
            disagrees = lag_s < self.threshold_s * CALM_SHARE
        else:
            disagrees = lag_s >= self.threshold_s
        self._against = self._against + 1 if disagrees else 0
        if self._against < IN_A_ROW:
            return False
        self._against = 0
        self.is_saturated = not self.is_saturated
        return True
