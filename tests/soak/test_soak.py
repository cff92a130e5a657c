"""Must hold 6: under everything that clients do, memory stays flat, nothing is logged that must not be, sums add up."""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

import pytest
from child import child
from soak_site import SoakSite

MINUTES = float(os.environ.get("CLB_SOAK_MINUTES", "10"))
WARM_UP_SHARE = 0.2
SAMPLE_S = 1.0
AT_MOST_GROWTH = 0.10


def test_fifteen_seconds(tmp_path: Path) -> None:
    """Long enough for a defect of most kinds; memory takes longer to tell."""
    _soak(tmp_path, 15)


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, memory = _soak(tmp_path, MINUTES * 60)
    warm = memory[int(len(memory) * WARM_UP_SHARE) :]
    part = max(1, len(warm) // 5)
    first, last = statistics.median(warm[:part]), statistics.median(warm[-part:])
    with capsys.disabled():
        print(f"\n{MINUTES:g} minutes, {sum(done.values())} visits: {done}")
        print(f"PSS in KiB: start {memory[0]}, after warm-up {first:.0f}, at the end {last:.0f}, peak {max(memory)}")
    assert last <= first * (1 + AT_MOST_GROWTH)


def _soak(folder: Path, seconds: float) -> tuple[dict[str, int], list[int]]:
    """Let the clients at it; how often each thing was done, and the memory over time."""
    site = SoakSite(folder)
    try:
        memory = []
        with child("soak_load.py", *site.ports[:2]) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            give_up_at = time.monotonic() + seconds
            while time.monotonic() < give_up_at:
                time.sleep(SAMPLE_S)
                memory.append(site.pss_kib())
            clients.stdin.close()
            result = json.loads(clients.stdout.read())
        assert not result["unexpected"], "\n".join(result["unexpected"])
        site.end()
        return result["done"], memory
    finally:
        site.kill()
