"""The connections to one target that wait for a request, and how long they may.

Owns:      which of them is used next, looking at one before it is used, retiring them, learning from their ends.
Elsewhere: how long is too long (idle_limit.py); lending and dialling (pool.py).

Those that were used a moment ago are taken without a look: no real server closes them that soon, and it is what busy
connections cost nothing by. The sweep puts the others aside. Of those, one is used only if it is young enough and
nothing has come on it: its end may lie in the kernel while the loop has not come to it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clb.proxy.idle_limit import IdleLimit
from clb.proxy.tcp import has_something_to_read

if TYPE_CHECKING:
    from clb.proxy.upstream import Upstream

_REST_AFTER_S = 0.5
_SHORT_S = 2.0
"""Below this bound the sweep may come too late: then all are put aside at once."""


class IdleConnections:
    """Two stacks, the connection used last on top."""

    def __init__(self, most: int, timeout_s: float) -> None:
        self._most = most
        self.limit = IdleLimit(timeout_s)
        self.recent: list[Upstream] = []
        """May be taken as they are, if they are usable."""
        self.aside: list[Upstream] = []
        self.shelf = self.recent
        """Where a connection goes that falls idle."""
        self._witness: Upstream | None = None
        """A retired connection that is not used any more: when the real server ends it, the lesson is confirmed."""
        self._ended_s = 0.0
        """The longest idle time of those that the real server ended since the last sweep."""
        self.retired = 0
        """Connections that were given up because the real server would soon have closed them."""
        self.avoided = 0
        """Requests that were kept from a connection that had ended or was about to."""
        self._choose_shelf()

    def __len__(self) -> int:
        return len(self.recent) + len(self.aside)

    def configure(self, most: int, timeout_s: float) -> None:
        """Go by other bounds."""
        self._most = most
        self.limit.configure(timeout_s)
        self._choose_shelf()
        old = [*self.aside, *self.recent][: max(0, len(self) - most)]
        self.aside[:] = [one for one in self.aside if one not in old]
        self.recent[:] = [one for one in self.recent if one not in old]
        self._retire(old, has_witness=False)
        if not most:
            self.give_up_witness()

    def take(self, now: float) -> Upstream | None:
        """Return a connection that may be used, or None."""
        while self.recent:
            upstream = self.recent.pop()
            if upstream.is_usable:
                return upstream
        while self.aside:
            upstream = self.aside.pop()
            if now - upstream.idle_since > self.limit.limit_s:
                self.avoided += 1
                old = [*self.aside, upstream]  # What lies below is older still.
                self.aside.clear()
                self._retire(old, has_witness=False)
            elif upstream.is_usable and not has_something_to_read(upstream.transport):
                return upstream
            else:
                self.avoided += 1
                self._learn(upstream, now)
                _give_up(upstream)
        return None

    def lost(self, upstream: Upstream, now: float) -> None:
        """Learn that a connection is gone; it may be any of the pool's."""
        if upstream is self._witness:
            self._witness = None
        elif upstream in self.recent:
            self.recent.remove(upstream)
        elif upstream in self.aside:
            self.aside.remove(upstream)
        else:
            return
        self._learn(upstream, now)

    def sweep(self, now: float, *, has_room: bool) -> None:
        """Retire what is idle for too long, and draw the lessons; `has_room`: one more may be kept as a witness."""
        if self._ended_s:
            self.limit.ended(self._ended_s)
            self._ended_s = 0.0
        if self._witness is not None and self.limit.outlived(now - self._witness.idle_since):
            self.give_up_witness()
        self._choose_shelf()
        rests_since = now - _REST_AFTER_S
        count = 0
        while count < len(self.recent) and self.recent[count].idle_since < rests_since:
            count += 1
        self.aside += self.recent[:count]
        del self.recent[:count]
        used_since = now - self.limit.limit_s
        count = max(0, len(self) - self._most)
        while count < len(self.aside) and self.aside[count].idle_since < used_since:
            count += 1
        if count:
            old = self.aside[:count]
            del self.aside[:count]
            self._retire(old, has_witness=has_room)

    def give_up_witness(self) -> bool:
        """Close the retired connection that is kept for its end, if there is one: its place is needed."""
        witness, self._witness = self._witness, None
        if witness is not None:
            _give_up(witness)
        return witness is not None

    def clear(self) -> None:
        """Forget all; they are closed by whoever asks for it."""
        self.recent.clear()
        self.aside.clear()
        self._witness = None

    def _learn(self, upstream: Upstream, now: float) -> None:
        self._ended_s = max(self._ended_s, now - upstream.idle_since)

    def _retire(self, upstreams: list[Upstream], *, has_witness: bool) -> None:
        """Close them but for one, if its end would teach something."""
        self.retired += len(upstreams)
        for upstream in upstreams:
            if has_witness and self._witness is None and self.limit.learned_s is not None and upstream.is_usable:
                self._witness = upstream
            else:
                _give_up(upstream)

    def _choose_shelf(self) -> None:
        self.shelf = self.aside if self.limit.limit_s < _SHORT_S else self.recent


def _give_up(upstream: Upstream) -> None:
    """Close it, and let its place be taken now: the loop tells only later that it is gone."""
    upstream.close()
    upstream.pool.forget(upstream)
