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
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

YARDSTICK_ROUNDS = 3000
VERSION_COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "envoy": [os.environ.get("BENCH_ENVOY", "envoy"), "--version"],
}


def describe(peers: Sequence[str], core: int) -> dict[str, str]:
    """What a reader needs to compare two result files."""
    facts = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "yardstick_us": f"{yardstick_us(core):.1f}",
    }
    for peer in peers:
        facts[peer] = importlib.metadata.version("clb") if peer == "clb" else _version_of(VERSION_COMMANDS[peer])
    return facts


def yardstick_us(core: int) -> float:
    """CPU microseconds of one ECDSA P-256 signature on a core: how fast the machine was at that time.

    Shared machines differ from hour to hour by a factor of two; only ratios of one run mean anything then.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        started = time.thread_time_ns()
        for _ in range(YARDSTICK_ROUNDS):
            key.sign(b"yardstick", ec.ECDSA(hashes.SHA256()))
        return (time.thread_time_ns() - started) / YARDSTICK_ROUNDS / 1000
    finally:
        os.sched_setaffinity(0, allowed)


def _version_of(command: Sequence[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"\d+\.\d+\.\d+[\w.+~-]*", finished.stdout + finished.stderr)
    return found.group() if found else "unknown"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
