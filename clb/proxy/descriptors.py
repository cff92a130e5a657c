"""How many clients' connections a process may have, given the file descriptors it may open.

Owns:      the headroom: what is open, what is kept for connections to real servers and for files.
Elsewhere: closing and refusing (admission.py). When there is no descriptor left at all the loop itself closes what it
           accepts and goes on; with a reserve it does not come to that.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

RECOUNT_S = 10.0
"""How often all open descriptors are counted; in between only connections change, and those are known."""
SMALLEST_RESERVE = 8


def count_open() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Descriptors:
    """The account of one process."""

    def __init__(self, reserve_share: float, count: Callable[[], int] = count_open) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = 1 << 30 if limit == resource.RLIM_INFINITY else limit
        self._count = count
        self._counted_at = float("-inf")
        self._other = 0
        self.reserve = 0
        self.most_connections = self._limit
        """Of clients, as of the last look."""
        self.configure(reserve_share)
        self.look(float("-inf"), 0, 0)

    def configure(self, reserve_share: float) -> None:
        """Take another reserve into account from the next look on."""
        self.reserve = max(SMALLEST_RESERVE, int(self._limit * reserve_share))

    def look(self, now: float, connections: int, upstream: int) -> None:
        """Work out anew how many connections of clients there may be; `upstream` are those to real servers."""
        if now - self._counted_at >= RECOUNT_S or not self._other:
            try:
                self._other = max(1, self._count() - connections - upstream)
                self._counted_at = now
            except OSError:
                pass  # Counting takes one, too. What was counted last still holds.
        # What real servers have already came out of the reserve; a quarter of it stays free for the next ones.
        kept = max(self.reserve - upstream, self.reserve // 4)
        self.most_connections = max(1, self._limit - self._other - upstream - kept)
