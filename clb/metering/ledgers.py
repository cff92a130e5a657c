"""Count bytes, connections and requests, for a listener, a rule, a target.

Owns:      which counters of a record a byte or a request is added to, and reading them back in this process.
Elsewhere: the classes (counters.py), where bytes are seen (proxy/downstream.py), where the records lie
           (counter_file.py; without one a ledger has a record of its own in memory), connections' lanes (lanes.py).
Pure:      numbers in, numbers out.

Bytes are stored as they pass, and those that go out before the kernel has them: what a client has seen is counted
even if this process is killed in the same moment. What each request touches (a connection's bytes, a target's share)
is kept in plain integers and stored at once, which costs half of adding to the map several times; so a record has
one ledger (ledger_registry.py sees to that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Protocol

from clb.metering.counter_fields import (
    FIELDS,
    HANDSHAKE_FAILURES,
    LANES_IN_A_RECORD,
    REFUSALS,
    STATUS_CLASSES,
    TARGET_FAILURES,
    UNKNOWN_REASON,
    WIRE,
    Kind,
    field_index,
    reason_indexes,
)
from clb.metering.counters import Traffic, net_traffic
from clb.metering.lanes import lane_number, lane_sums, take_lane


class LiveConnection(Protocol):
    """What a listener's ledger asks of a connection that is open."""

    wire_in: int
    billed_in: int
    wire_out: int
    billed_out: int
    lanes: memoryview
    lane_at: int
    """Where it stores the four."""

    def store(self) -> None:
        """Store them."""

    @property
    def handshake_in(self) -> int:
        """What was counted by `shook_hands`; 0 before that."""

    @property
    def handshake_out(self) -> int:
        """The same, outwards."""

    def traffic(self) -> Traffic:
        """Return the connection's bytes so far."""


class ReasonCounts(Mapping[str, int]):
    """Counts by the words of a closed set, on a record. Those that are 0 do not show; an unknown word is `other`."""

    __slots__ = ("_ledger", "_places")

    def __init__(self, ledger: Ledger, places: Mapping[str, int]) -> None:
        self._ledger = ledger
        self._places = places

    def __getitem__(self, reason: str) -> int:
        return self._ledger.record[self._place(reason)]

    def __setitem__(self, reason: str, count: int) -> None:
        self._ledger.record[self._place(reason)] = count

    def __iter__(self) -> Iterator[str]:
        return (reason for reason, place in self._places.items() if self._ledger.record[place])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _place(self, reason: str) -> int:
        return self._places.get(reason, self._places[UNKNOWN_REASON])


class Ledger:
    """A record and who counts in it."""

    __slots__ = ("__weakref__", "record")

    kind: Kind
    answered_at: tuple[int, ...]
    """Where requests are counted, by the first digit of their status."""

    def __init__(self, record: memoryview | None = None) -> None:
        self.record = blank_record(self.kind) if record is None else record
        """Its counters, in the order of `FIELDS`; another one after `compact` (counter_file.py)."""

    @property
    def requests(self) -> int:
        """Requests that were counted here."""
        return sum(self.record[place] for place in self.answered_at)


def blank_record(kind: Kind) -> memoryview:
    """Return a record in memory."""
    return memoryview(bytearray(8 * len(FIELDS[kind]))).cast("Q")


def _answered_at(kind: Kind) -> tuple[int, ...]:
    return tuple(field_index(kind, f"requests_{status_class}") for status_class in STATUS_CLASSES)


def _index(name: str) -> int:
    return field_index(Kind.LISTENER, name)


_HANDSHAKE_IN, _HANDSHAKE_OUT = _index("handshake_in"), _index("handshake_out")
_OVERHEAD_IN, _OVERHEAD_OUT = _index("overhead_in"), _index("overhead_out")
_UNSENT_WIRE, _UNSENT_HANDSHAKE = _index("unsent_wire_out"), _index("unsent_handshake_out")
_UNSENT_BILLED = _index("unsent_billed_out")
_PROXY_HEADER, _PLAIN_HTTP = _index("proxy_header_in"), _index("plain_http_in")
_UNFINISHED_IN, _UNFINISHED_OUT = _index("unfinished_handshake_in"), _index("unfinished_handshake_out")
_CONNECTIONS, _ENDED, _RESIDUALS = _index("connections"), _index("ended"), _index("residuals")
_FULL, _RESUMED = _index("handshakes_full"), _index("handshakes_resumed")
_FAILURES = reason_indexes(Kind.LISTENER, "failed_", HANDSHAKE_FAILURES)
_REFUSALS = reason_indexes(Kind.LISTENER, "refused_", REFUSALS)


class ListenerLedger(Ledger):
    """One listener's sums, closed and open connections alike."""

    __slots__ = ("_free", "_more_lanes", "_numbers", "handshakes_failed", "lanes", "live", "refused")

    kind = Kind.LISTENER
    answered_at = _answered_at(Kind.LISTENER)

    def __init__(
        self, record: memoryview | None = None, more_lanes: Callable[[int], memoryview | None] = lambda number: None
    ) -> None:
        """Stand on a record; `more_lanes` returns the records with its lanes, by number, as many as can be had."""
        super().__init__(record)
        self._more_lanes = more_lanes
        self._numbers = count()
        self.lanes: list[memoryview] = []
        """Records of lanes, by number."""
        self._free: list[tuple[memoryview, int]] = []
        self.live: set[LiveConnection] = set()
        self.handshakes_failed = ReasonCounts(self, _FAILURES)
        """By the reasons of tls/failures.py."""
        self.refused = ReasonCounts(self, _REFUSALS)
        """Connections and requests that clb itself turned away, by error reason."""

    # --- connections ---

    def opened(self, connection: LiveConnection) -> None:
        """Count a connection that was accepted, and give it a lane."""
        self.record[_CONNECTIONS] += 1
        self.live.add(connection)
        if not self._free:
            self._add_lanes()
        connection.lanes, number = self._free.pop()
        connection.lane_at = take_lane(connection.lanes, number)

    def _add_lanes(self) -> None:
        record = self._more_lanes(next(self._numbers))
        if record is None:  # No room in the file. Then these bytes last as long as the process.
            record = blank_record(Kind.LANES)
        self.lanes.append(record)
        self._free += [(record, number) for number in reversed(range(LANES_IN_A_RECORD))]

    def moved(self, record: memoryview, lanes: Mapping[int, memoryview]) -> None:
        """Go on with other records that have the same numbers; `lanes` by the identity of those they replace."""
        self.record = record
        self.lanes = [lanes.get(id(each), each) for each in self.lanes]
        self._free = [(lanes.get(id(each), each), number) for each, number in self._free]
        for connection in self.live:
            connection.lanes = lanes.get(id(connection.lanes), connection.lanes)

    def proxy_header(self, size: int) -> None:
        """Count a PROXY header; its bytes are overhead too, when the connection ends."""
        self.record[_PROXY_HEADER] += size

    def shook_hands(self, handshake_in: int, handshake_out: int) -> None:
        """Count a handshake's bytes: the session is up."""
        self.record[_HANDSHAKE_IN] += handshake_in
        self.record[_HANDSHAKE_OUT] += handshake_out

    def plain_http(self, size: int) -> None:
        """Count the bytes of a client that speaks HTTP to a TLS port; they are handshake too."""
        self.record[_PLAIN_HTTP] += size

    def established(self, *, resumed: bool) -> None:
        """Count a handshake that let a client in."""
        self.record[_RESUMED if resumed else _FULL] += 1

    def answered(self, status: int) -> None:
        """Count a request that belongs to no rule."""
        self.record[self.answered_at[status // 100]] += 1

    def ended(self, connection: LiveConnection, traffic: Traffic) -> None:
        """Count what is known at a connection's end only; `traffic` has its final figures, without what is unsent."""
        self.live.discard(connection)
        connection.store()
        self._free.append((connection.lanes, lane_number(connection.lane_at)))
        record = self.record
        record[_ENDED] += 1
        record[_OVERHEAD_IN] += traffic.overhead_in
        record[_OVERHEAD_OUT] += traffic.overhead_out
        if traffic.unsent_out:
            record[_UNSENT_WIRE] += traffic.unsent_out
            record[_UNSENT_HANDSHAKE] += traffic.unsent_handshake_out
            record[_UNSENT_BILLED] += traffic.unsent_billed_out
        unfinished_in = traffic.handshake_in - connection.handshake_in
        unfinished_out = traffic.handshake_out + traffic.unsent_handshake_out - connection.handshake_out
        if unfinished_in or unfinished_out:
            record[_HANDSHAKE_IN] += unfinished_in
            record[_HANDSHAKE_OUT] += unfinished_out
            record[_UNFINISHED_IN] += unfinished_in
            record[_UNFINISHED_OUT] += unfinished_out
        if traffic.residual_in or traffic.residual_out:
            record[_RESIDUALS] += 1

    # --- reading ---

    @property
    def connections(self) -> int:
        """Connections that were accepted."""
        return self.record[_CONNECTIONS]

    @property
    def handshakes_full(self) -> int:
        """Handshakes that let a client in and began a session."""
        return self.record[_FULL]

    @property
    def handshakes_resumed(self) -> int:
        """Handshakes that let a client in with a session of before."""
        return self.record[_RESUMED]

    @property
    def residuals(self) -> int:
        """Closed connections whose classes did not add up to the wire. Always 0, or there is a defect."""
        return self.record[_RESIDUALS]

    def snapshot(self) -> Traffic:
        """Return the sums as of now, without what is unsent; open connections are asked for what they did not store."""
        counts = dict(zip(FIELDS[self.kind], self.record, strict=True))
        for lanes in self.lanes:
            for name, value in zip(WIRE, lane_sums(lanes), strict=True):
                counts[name] += value
        total = net_traffic(counts)
        for connection in self.live:
            traffic = connection.traffic()
            total.overhead_in += traffic.overhead_in
            total.overhead_out += traffic.overhead_out
            total.handshake_in += traffic.handshake_in - connection.handshake_in
            total.handshake_out += traffic.handshake_out - connection.handshake_out
        return total


class RuleLedger(Ledger):
    """A rule's own part: requests that no real server answered, and their bytes."""

    __slots__ = ()

    kind = Kind.RULE
    answered_at = _answered_at(Kind.RULE)

    def adds(self, billed_in: int, billed_out: int) -> None:
        """Count HTTP bytes."""
        self.record[_RULE_IN] += billed_in
        self.record[_RULE_OUT] += billed_out

    def answered(self, status: int) -> None:
        """Count a request that no real server answered; `status` may be 0."""
        self.record[self.answered_at[status // 100]] += 1

    @property
    def billed_in(self) -> int:
        """HTTP bytes of such requests."""
        return self.record[_RULE_IN]

    @property
    def billed_out(self) -> int:
        """What such requests were sent by real servers nevertheless; without what never arrived."""
        return self.record[_RULE_OUT] - self.record[_RULE_UNSENT]


_RULE_IN, _RULE_OUT, _RULE_UNSENT = (
    field_index(Kind.RULE, name) for name in ("billed_in", "billed_out", "unsent_billed_out")
)


def _target_index(name: str) -> int:
    return field_index(Kind.TARGET, name)


_UNSENT, _LATENCY = _target_index("unsent_billed_out"), _target_index("latency_us")
_MADE, _RETRIES = _target_index("connections"), _target_index("retries")
_TARGET_FAILURES = reason_indexes(Kind.TARGET, "failed_", TARGET_FAILURES)


class TargetLedger(Ledger):
    """One target of a rule: the requests that it answered with their bytes, and the attempts that failed.

    A rule's figures are its own (RuleLedger) and those of its targets.
    """

    __slots__ = ("_published_s", "billed_in", "failed", "latency_s", "requests_2xx", "written_out")

    kind = Kind.TARGET
    answered_at = _answered_at(Kind.TARGET)

    def __init__(self, record: memoryview | None = None) -> None:
        super().__init__(record)
        self.billed_in, self.written_out, self.requests_2xx = self.record[:3]
        self.latency_s = self._published_s = 0.0
        """Sum of the times to an answer's head, one for each request. Stored by `publish`: no client has seen it."""
        self.failed = ReasonCounts(self, _TARGET_FAILURES)
        """Attempts, by error reason."""

    def adds(self, billed_in: int, billed_out: int) -> None:
        """Count HTTP bytes; those that go out, before the kernel has them."""
        self.billed_in += billed_in
        self.written_out += billed_out
        record = self.record
        record[0], record[1], record[2] = self.billed_in, self.written_out, self.requests_2xx

    def answered(self, status: int, latency_s: float) -> None:
        """Count a request, before its answer is sent."""
        if status // 100 == 2:
            self.requests_2xx += 1
            self.adds(0, 0)
        else:
            self.record[self.answered_at[status // 100]] += 1
        self.latency_s += latency_s

    def take_back(self, unsent: int) -> None:
        """Take out HTTP bytes that were counted when they were written and never arrived."""
        self.record[_UNSENT] += min(unsent, self.billed_out)

    def connected(self) -> None:
        """Count a connection that was made."""
        self.record[_MADE] += 1

    def attempt_failed(self, reason: str) -> None:
        """Count an attempt that brought no answer."""
        self.failed[reason] += 1

    def retried(self) -> None:
        """Count a request that was offered once more because of what happened here."""
        self.record[_RETRIES] += 1

    def publish(self) -> None:
        """Store what is not stored at once."""
        whole = int((self.latency_s - self._published_s) * 1e6)
        if whole:
            self._published_s += whole / 1e6
            self.record[_LATENCY] += whole

    @property
    def billed_out(self) -> int:
        """HTTP bytes that arrived, or may still."""
        return self.written_out - self.record[_UNSENT]

    @property
    def retries(self) -> int:
        """Requests that were offered once more."""
        return self.record[_RETRIES]
