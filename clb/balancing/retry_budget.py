"""Keep retries from doubling an overload.

Owns:      how many retries may be under way at once.
Elsewhere: which requests may be retried at all (proxy/attempts.py); attempts per request (`retry.attempts`).
Pure:      two counters; what is acquired must be released.
"""

from __future__ import annotations


class RetryBudget:
    """Live retries stay within a share of the live requests, or within `minimum` while those are few."""

    __slots__ = ("_minimum", "_share", "live_requests", "live_retries")

    def __init__(self, share: float, minimum: int) -> None:
        self._share = share
        self._minimum = minimum
        self.live_requests = 0
        """Exchanges under way, first attempts and retries alike; the data path counts it up and down."""
        self.live_retries = 0

    def configure(self, share: float, minimum: int) -> None:
        """Go by other bounds; what is live stays."""
        self._share = share
        self._minimum = minimum

    def try_acquire(self) -> bool:
        """Whether one more retry may start; if so it counts as live until `release`."""
        if self.live_retries >= max(self._minimum, int(self._share * self.live_requests)):
            return False
        self.live_retries += 1
        return True

    def release(self) -> None:
        """A retry is over, however it ended."""
        assert self.live_retries > 0
        self.live_retries -= 1
