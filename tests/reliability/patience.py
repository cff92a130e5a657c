"""How much longer things may take than promised, because others use the machine as well.

Promises in seconds are made for a machine that has a processor for each process that wants one. Tests run beside
anything; a bound that is stretched by what the kernel says of the queue for processors still finds what hangs.
"""

from __future__ import annotations

import os

OWN_SHARE = 2.0
"""A test's own processes may queue twice deep for a processor before anybody is patient."""
MOST = 10.0


def patience() -> float:
    """A factor of at least 1 for every bound in seconds; to be asked at the end of a test."""
    queue = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(MOST, max(1.0, queue / OWN_SHARE))
