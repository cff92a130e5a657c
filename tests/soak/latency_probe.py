"""Ask one thing at a time over kept TLS connections: latency_probe.py PORT SECONDS.

Prints the median and the 99th percentile in microseconds.
"""

from __future__ import annotations

import gc
import ssl
import sys
import time

from idle_clients import Idle

CONNECTIONS = 8


def main(port: int, seconds: float) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connections = [Idle(port, context) for _ in range(CONNECTIONS)]
    gc.disable()
    taken = []
    give_up_at = time.perf_counter() + seconds
    while (start := time.perf_counter()) < give_up_at:
        assert connections[len(taken) % CONNECTIONS].ask()
        taken.append(time.perf_counter() - start)
    taken.sort()
    print(round(taken[len(taken) // 2] * 1e6), round(taken[len(taken) * 99 // 100] * 1e6))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
