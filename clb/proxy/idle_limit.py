"""How long a connection to a real server may be idle before the real server is likely to close it.

Owns:      the bound, made of what is configured, what the real server says and how it has behaved.
Elsewhere: the connections (pool.py); reading `Keep-Alive: timeout=N` (http1/response.py).
Pure:      durations in, a duration out.

A request sent on a connection in the moment in which the real server closes it is lost, and one that may not be sent
twice becomes a 502. So connections are retired a margin before that moment, which is known in one of two ways: the real
server announces it, or an idle connection was seen to end. One such end may be chance (a restart ends all
connections, whatever their age), so it is put to the test: see `outlived`.
"""

from __future__ import annotations

_SHORTEST_S = 0.2
"""An end that soon behind an answer is no idle time-out: the real server had enough of that connection."""
_LONGEST_S = 3600.0
_SAME = 1.25
"""Ends within this factor tell of the same time-out."""
_LEAST_MARGIN_S, _MARGIN_RATIO, _MOST_MARGIN_S = 0.2, 0.15, 2.0
"""A request must arrive, and the real server's clock may tick in steps, before the time is up."""
_GRACE_S = 1.0


class IdleLimit:
    """The bound for one target."""

    def __init__(self, configured_s: float) -> None:
        self._configured_s = configured_s
        self.announced_s: float | None = None
        self.learned_s: float | None = None
        self.limit_s = configured_s
        """Idle for longer than this, a connection is not used any more."""

    def configure(self, configured_s: float) -> None:
        """Take another bound of one's own."""
        self._configured_s = configured_s
        self._weigh()

    def announced(self, timeout_s: float) -> None:
        """Believe `Keep-Alive: timeout=N`."""
        if timeout_s != self.announced_s and 1 <= timeout_s <= _LONGEST_S:
            self.announced_s = timeout_s
            self._weigh()

    def ended(self, idle_s: float) -> None:
        """Learn from an idle connection that the real server ended; of several at once, the one idle for longest."""
        if idle_s < _SHORTEST_S:
            return
        learned_s = self.learned_s
        is_confirmed = learned_s is not None and learned_s / _SAME <= idle_s <= learned_s * _SAME
        self.learned_s = min(learned_s, idle_s) if learned_s is not None and is_confirmed else idle_s
        self._weigh()

    def outlived(self, idle_s: float) -> bool:
        """Whether a retired connection that is open after so long proves the lesson wrong; then it is forgotten."""
        if self.learned_s is None:
            return True
        if idle_s <= self.learned_s * _SAME + _GRACE_S:
            return False
        self.learned_s = None
        self._weigh()
        return True

    def _weigh(self) -> None:
        known = [each - _margin_s(each) for each in (self.announced_s, self.learned_s) if each is not None]
        self.limit_s = min(self._configured_s, *known) if known else self._configured_s


def _margin_s(timeout_s: float) -> float:
    return min(max(_LEAST_MARGIN_S, timeout_s * _MARGIN_RATIO), _MOST_MARGIN_S)
