"""Numbers that the processes of a node share while they run: one writer for each, readers add them up.

Owns:      the table's layout, which row belongs to which key, and what the fields of a row mean.
Elsewhere: what must outlive the node (counter_file.py); the rules that act on the numbers (balancing/, health/).
Pure:      memory in, numbers out; made by the supervisor before it forks, so that every process sees the same pages.

There are no atomic operations across processes in Python, so no number is ever written by two. The table has a
column for each process (0 is the control process, workers have one each) and rows of eight fields for the things
that are counted; what the node has in flight at a target is the sum of that row's field over the workers' columns. A
column is contiguous: no two processes write to one page, and clearing what a killed worker left is one assignment.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from enum import IntEnum

FIELDS = 8
"""Numbers in a row: 64 bytes, one cache line."""
CONTROL = 0
"""Column of the control process."""
NODE = "node"
"""Key of the row of the node itself."""


class NodeField(IntEnum):
    """The row `node`, in the workers' columns."""

    CONNECTIONS = 0
    ACCEPTED = 1
    """Ever since the worker started; the base of the rate caps."""
    HANDSHAKES = 2


class ListenerField(IntEnum):
    """A listener's row, in the workers' columns."""

    CONNECTIONS = 0
    ACCEPTED = 1
    HANDSHAKES = 2
    IN_FLIGHT = 3
    """As of the worker's last sweep."""
    BOUNDED = 4
    """Under way as the listener's bound counts, if it has one: at once, and from when it has it."""
    QUEUED = 5
    QUEUED_SINCE_MS = 6
    """Since when the first of them waits, in milliseconds of the monotonic clock; 0 = nobody does."""


class RuleField(IntEnum):
    """A rule's row, in the workers' columns; counted for rules with `in_flight` only."""

    BOUNDED = 0
    QUEUED = 1
    QUEUED_SINCE_MS = 2


class TargetField(IntEnum):
    """A target's row. State and its time are in the control process's column, the others in the workers'."""

    IN_FLIGHT = 0
    PENDING = 1
    """Exchanges that wait for a connection."""
    CONNECTIONS = 2
    LATENCY_US = 3
    """The worker's moving average of the time to the answer's head, in microseconds; 0 = not known."""
    STATE = 4
    """A `TargetState`."""
    SINCE_MS = 5
    """When it began to take work, or else to take none: milliseconds since the epoch. Slow start counts from it."""
    UNTIL_MS = 6
    """When the last ejection ends or ended, on the same clock; 0 = there was none."""
    EJECTIONS = 7
    """How often it has been ejected, less what good service took off."""


class TargetCount(IntEnum):
    """More of a target's row, in the workers' columns: counted since the worker started."""

    OPENINGS = 6
    """How often its breaker for the target opened: connections and queue were at their bounds."""
    AVOIDED = 7
    """Requests that were kept from a connection which the real server had closed or was about to."""


class TargetState(IntEnum):
    """What the control process thinks of a target; 0 is what a row says that nobody has judged yet."""

    UNCHECKED = 0
    """No check is configured, or it is off: takes work."""
    CHECKING = 1
    """New beside targets that are known to be good: takes none until it has proved itself."""
    HEALTHY = 2
    UNHEALTHY = 3
    EJECTED = 4
    """Its checks may be fine, its answers to real requests were not."""
    PROVISIONAL = 5
    """Not proved, but its rule has no better: takes work until a check fails."""

    @property
    def takes_work(self) -> bool:
        """Whether a target in this state is offered work; if all are in others, it is for the rule to say."""
        return self in (TargetState.UNCHECKED, TargetState.HEALTHY, TargetState.PROVISIONAL)


class Cells:
    """The table. Made before the fork; every process then asks for its own column and for sums."""

    def __init__(self, rows: int, columns: int) -> None:
        # Anonymous and shared: pages that nobody has touched take no memory, so the table may be generous.
        self._map = mmap.mmap(-1, rows * columns * FIELDS * 8)
        whole = memoryview(self._map).cast("q")
        width = rows * FIELDS
        self.rows = rows
        self.columns = tuple(whole[column * width : (column + 1) * width] for column in range(columns))
        """One view of 64-bit integers for each; field `f` of row `r` is at `r * FIELDS + f`."""

    def clear(self, column: int, used_rows: int) -> None:
        """Forget what a worker left behind; its successor calls it before it writes.

        The control process's column is never cleared: its successor takes the targets' states from there.
        """
        size = used_rows * FIELDS
        self.columns[column][:size] = memoryview(bytes(size * 8)).cast("q")

    def total(self, row: int, field: int) -> int:
        """Add a field up over the workers."""
        place = row * FIELDS + field
        return sum(column[place] for column in self.columns[1:])

    def control(self, row: int, field: int) -> int:
        """Read what the control process says."""
        return self.columns[CONTROL][row * FIELDS + field]


class TableFull(Exception):
    """More things were counted in the life of this node than the table has rows: restart it."""


class Rows:
    """Which row belongs to which key. Only the supervisor gives rows out; they go to the others with the snapshot."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_key: dict[str, int] = {NODE: 0}

    @property
    def used(self) -> int:
        """How many rows have been given out; the rest of the table is untouched."""
        return len(self._by_key)

    def assign(self, keys: Iterable[str]) -> Mapping[str, int]:
        """Return the rows of these keys and of the node; a key that was known keeps its row.

        A row is not given to another key: a worker of an older snapshot may still write to it.

        Raises:
            TableFull: there are no more rows; nothing was given out.
        """
        new = [key for key in dict.fromkeys(keys) if key not in self._by_key]
        if len(self._by_key) + len(new) > self._capacity:
            raise TableFull(f"{len(self._by_key)} rows are in use and {len(new)} more are needed")
        for key in new:
            self._by_key[key] = len(self._by_key)
        return {NODE: 0, **{key: self._by_key[key] for key in keys}}


def listener_key(load_balancer: str, listener: str) -> str:
    """Name a listener, in the table and wherever processes talk about it."""
    return f"{load_balancer}/{listener}"


def rule_key(load_balancer: str, listener: str, domain: str, url: str) -> str:
    """Name a rule."""
    return f"{load_balancer}/{listener} {domain}{url}"


def target_key(rule: str, identity: str) -> str:
    """Name a target of a rule; `identity` is address and port."""
    return f"{rule} {identity}"
