"""What every load client reports.

Owns:      the shape of a report and its way through a pipe.
Elsewhere: the clients that fill it (wrk.py, handshakes.py, idle.py).
Pure:      data only.
"""

from __future__ import annotations

from dataclasses import dataclass


class LoadFailed(Exception):
    """A client could not do its work, or did other work than it should have."""


@dataclass(frozen=True)
class Load:
    """What one client did in one window."""

    units: int
    seconds: float
    errors: int
    p50_us: int
    p99_us: int
    resumed: int = 0
    """Of the units, those whose handshake resumed a session (handshakes.py only)."""
