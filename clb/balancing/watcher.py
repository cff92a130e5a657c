"""What a strategy that learns from exchanges is told of them.

Owns:      the interface.
Elsewhere: who tells (proxy/attempts.py, exchange.py); who learns (least_conn.py, p2c_ewma.py).
Pure:      the time is passed in.

A strategy that learns nothing has no watcher, and its exchanges pay for one look at that.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from clb.balancing.candidate import Candidate

T = TypeVar("T")


class Watcher(Protocol[T]):
    """Hears of every exchange of a rule, after `in_flight` was counted up or down."""

    def began(self, candidate: Candidate[T]) -> None:
        """An exchange was given to it."""

    def answered(self, candidate: Candidate[T], latency_s: float, now: float) -> None:
        """The head of its answer came, so long after the request was sent."""

    def ended(self, candidate: Candidate[T]) -> None:
        """An exchange is over or was taken away."""

    def failed(self, candidate: Candidate[T], now: float) -> None:
        """It did not connect, closed, was silent for too long, or answered 5xx."""
