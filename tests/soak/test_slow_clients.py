"""Must hold 6: a hundred slow clients do not move the p99 of the others by more than noise."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from child import child
from soak_site import SoakSite

SLOW_CLIENTS = 100
ROUNDS = 7
SECONDS = 3
PROBE = Path(__file__).with_name("latency_probe.py")


@pytest.mark.slow
def test_slow_clients_do_not_slow_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = SoakSite(tmp_path)
    try:
        alone, beside = [], []
        _p99(site)  # to warm up
        for _ in range(ROUNDS):
            alone.append(_p99(site))
            with child("slow_clients.py", site.ports[0], SLOW_CLIENTS):
                beside.append(_p99(site))
        with capsys.disabled():
            print(f"\np99 in us, alone: {sorted(alone)}, beside {SLOW_CLIENTS} slow clients: {sorted(beside)}")
        # Noise is what the runs without slow clients differ by among themselves; a machine that is shared has much.
        noise = max(statistics.median(alone) * 0.25, statistics.quantiles(alone)[2] - statistics.quantiles(alone)[0])
        assert statistics.median(beside) <= statistics.median(alone) + noise
        site.end()
    finally:
        site.kill()


def _p99(site: SoakSite) -> int:
    done = subprocess.run(
        [sys.executable, str(PROBE), str(site.ports[0]), str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout.split()[1])
