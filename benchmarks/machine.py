"""Say what was measured on: versions and hardware, for the results file.

Owns:      reading versions from the programs themselves.
Elsewhere: the measurements (rounds.py).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

VERSION_COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "envoy": [os.environ.get("BENCH_ENVOY", "envoy"), "--version"],
}


def describe(peers: Sequence[str]) -> dict[str, str]:
    """What a reader needs to compare two result files."""
    facts = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }
    for peer in peers:
        facts[peer] = importlib.metadata.version("clb") if peer == "clb" else _version_of(VERSION_COMMANDS[peer])
    return facts


def _version_of(command: Sequence[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"\d+\.\d+\.\d+[\w.+~-]*", finished.stdout + finished.stderr)
    return found.group() if found else "unknown"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
