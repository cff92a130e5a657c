"""The workers' counter files as management shows them.

Owns:      turning counters by name into the numbers of control/totals.py; telling once of a file that cannot be read.
Elsewhere: following the files and adding them up (metering/counter_reader.py); the names (metering/counter_fields.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from clb.control.totals import Latency, ListenerTotals, RuleTotals, TargetTotals
from clb.metering.counter_fields import STATUS_CLASSES, Kind, stored_key
from clb.metering.counter_reader import CounterReader, Totals
from clb.metering.counters import net_traffic
from clb.observe.logging import fields

Counts = Mapping[str, int]
UNPAID = ("proxy_header", "plain_http", "unfinished_handshake")

_logger = logging.getLogger(__name__)


class CountersFollowed:
    """Call it for the totals as of now."""

    def __init__(self, directory: Path) -> None:
        self._reader = CounterReader(directory)
        self._faults: list[str] = []

    def __call__(self) -> CounterTotals:
        sums = self._reader.read()
        for fault in sums.faults:
            if fault not in self._faults:
                _logger.warning("counters cannot be read", extra=fields(error=fault))
        self._faults = list(sums.faults)
        return CounterTotals(sums)

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()


class CounterTotals:
    """One reading, by the keys of metering/cells.py."""

    def __init__(self, sums: Totals) -> None:
        self._sums = sums

    def listener(self, key: str) -> ListenerTotals | None:
        """One listener's."""
        counts = self._sums.listeners.get(stored_key(Kind.LISTENER, key))
        if counts is None:
            return None
        return ListenerTotals(
            connections=counts.get("connections", 0),
            handshakes_full=counts.get("handshakes_full", 0),
            handshakes_resumed=counts.get("handshakes_resumed", 0),
            handshakes_failed=_by_reason(counts, "failed_"),
            requests=_requests(counts),
            refused=_by_reason(counts, "refused_"),
            traffic=net_traffic(counts),
            defects=counts.get("residuals", 0),
            unpaid={name: counts.get(f"{name}_in", 0) for name in UNPAID},
        )

    def rule(self, key: str) -> RuleTotals | None:
        """One rule's; what its targets have in common is of those that are there or were."""
        key = stored_key(Kind.RULE, key)
        counts = self._sums.rules.get(key)
        if counts is None:
            return None
        return RuleTotals(
            requests=_requests(counts),
            billed_in=counts.get("billed_in", 0),
            billed_out=counts.get("billed_out", 0) - counts.get("unsent_billed_out", 0),
            unsent_out=counts.get("unsent_billed_out", 0),
        )

    def target(self, key: str) -> TargetTotals | None:
        """One target's."""
        counts = self._sums.targets.get(stored_key(Kind.TARGET, key))
        if counts is None:
            return None
        return TargetTotals(
            requests=_requests(counts),
            failures=_by_reason(counts, "failed_"),
            retries=counts.get("retries", 0),
            connections=counts.get("connections", 0),
            latency=_latency(counts),
        )


def _requests(counts: Counts) -> dict[str, int]:
    return {name: counts.get(f"requests_{name}", 0) for name in STATUS_CLASSES}


def _by_reason(counts: Counts, prefix: str) -> dict[str, int]:
    def found() -> Iterator[tuple[str, int]]:
        for name, count in counts.items():
            if count and name.startswith(prefix):
                yield name.removeprefix(prefix), count

    return dict(found())


def _latency(counts: Counts) -> Latency:
    """Every answer has a head, and its time is added up."""
    answered = sum(counts.get(f"requests_{name}", 0) for name in STATUS_CLASSES if name != "none")
    return Latency(answered, counts.get("latency_us", 0) / 1e6)
