"""Whether a client that is waited for moves bytes fast enough (`limits.min_body_rate`, `min_send_rate`).

Owns:      the measure: bytes over the time in which the client alone was waited for.
Elsewhere: who is waited for (downstream.py); time-outs of silence, which hold beside it.

Looked at in the sweep, never at a read: a connection that is fast leaves no trace. The average begins anew after
twice the grace, so that a fast start does not pay for a slow rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clb.config.models import Limits
from clb.errors import BodyTooSlow, ClbError, ReadTooSlow

if TYPE_CHECKING:
    from clb.proxy.connection import ClientConnection


class Pace:
    """One stretch of waiting for a client."""

    __slots__ = ("error", "since", "start")

    def __init__(self, error: type[ClbError], since: float, start: int) -> None:
        self.error = error
        self.since = since
        self.start = start


def check_pace(connection: ClientConnection, limits: Limits, now: float) -> None:
    """Look at a connection with an exchange, and end what is too slow."""
    exchange = connection.exchange
    if exchange is None:
        return
    error: type[ClbError]
    if connection.is_write_blocked:
        error, moved, least = ReadTooSlow, connection.passed_out, limits.min_send_rate
    elif connection.awaits_body:
        error, moved, least = BodyTooSlow, exchange.billed_in, limits.min_body_rate
    else:
        exchange.pace = None
        return
    pace = exchange.pace
    if pace is None or pace.error is not error:
        exchange.pace = Pace(error, now, moved)
        return
    elapsed = now - pace.since
    if not least or elapsed < limits.rate_grace:
        return
    if moved - pace.start < least * elapsed:
        exchange.fail(error(f"{moved - pace.start} bytes in {elapsed:.1f} s, at least {least} B/s expected"))
    elif elapsed >= 2 * limits.rate_grace:
        exchange.pace = Pace(error, now, moved)
