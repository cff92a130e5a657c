"""Run counting clients (counting_clients.py) and read what they counted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("counting_clients.py")
LONGEST_S = 240.0


@dataclass(frozen=True)
class Counted:
    """What one run counted."""

    origins: dict[str, int]
    keys: dict[str, str]
    disagreements: list[str]
    took: list[float]
    failures: list[str]
    seconds: float

    def percentile_ms(self, share: float) -> float:
        """Latency of which `share` of the answers stay below."""
        return 1000 * self.took[min(len(self.took) - 1, int(len(self.took) * share))]


def count(port: int, host: str, connections: int, **orders: Any) -> Counted:
    """Let them ask; nothing may fail."""
    command = [
        sys.executable,
        str(PROGRAM),
        json.dumps({"port": port, "host": host, "connections": connections, **orders}),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LONGEST_S, check=True)
    counted = Counted(**json.loads(done.stdout))
    assert not counted.failures, counted.failures[:10]
    return counted
