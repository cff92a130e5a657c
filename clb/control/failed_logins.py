"""Wrong credentials: how many a source may send, and a count of them that no stranger can make long.

Owns:      a token bucket for each source address, in a table with a bound; the counts of refused logins.
Elsewhere: when a credential is wrong (tokens.py); the answers (guard.py); keeping the counts (audit_trail.py).
Pure:      the clock is passed in.

A bucket belongs to a source, so whoever guesses is slowed down alone: a valid token from any other address is served
whatever happens here. A guess has one chance in 2^256, so what this saves is work and log, not the secret.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

BURST: Final = 10
EACH_S: Final = 6.0
"""One more try after so many seconds."""
MOST_SOURCES: Final = 4096
MOST_COUNTED: Final = 20
"""Sources that are told by name in one period; the others together."""
OTHERS: Final = "other addresses"


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class FailureLimit:
    """Who failed lately."""

    def __init__(self, clock: Callable[[], float], *, burst: int = BURST, each_s: float = EACH_S) -> None:
        self._clock = clock
        self._burst = burst
        self._each_s = each_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        """The one that failed last at the end."""

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, source: str) -> float:
        """How long the source must wait before its credential is looked at; 0: not at all."""
        bucket = self._buckets.get(network_of(source))
        if bucket is None:
            return 0.0
        left = self._left(bucket)
        return 0.0 if left >= 1.0 else (1.0 - left) * self._each_s

    def failed(self, source: str) -> None:
        """Take one try of the source's."""
        key = network_of(source)
        bucket = self._buckets.pop(key, None)
        left = self._left(bucket) if bucket is not None else float(self._burst)
        self._buckets[key] = _Bucket(max(0.0, left - 1.0), self._clock())
        # The one that has been quiet for the longest makes room.
        while len(self._buckets) > MOST_SOURCES:
            self._buckets.popitem(last=False)

    def _left(self, bucket: _Bucket) -> float:
        return min(float(self._burst), bucket.left + (self._clock() - bucket.at) / self._each_s)


def network_of(source: str) -> str:
    """The address of IPv4, the /64 of IPv6: who has one such address usually has all of them."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


@dataclass(frozen=True, slots=True)
class Refusals:
    """What one source was refused in a period, by reason."""

    source: str
    reasons: dict[str, int]


class RefusalCounts:
    """Refused requests of a period, by source and reason."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, source: str, reason: str) -> None:
        """Count one."""
        key = network_of(source)
        if key not in self._counts and len(self._counts) >= MOST_COUNTED:
            key = OTHERS
        self._counts.setdefault(key, Counter())[reason] += 1

    def take(self) -> list[Refusals]:
        """Return what was counted, and begin anew."""
        counts, self._counts = self._counts, {}
        return [Refusals(source, dict(sorted(reasons.items()))) for source, reasons in counts.items()]
