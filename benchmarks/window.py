"""One window of measurement: load on one peer while its CPU time and memory are read.

Owns:      the order of things: warm up, read, load, settle, read.
Elsewhere: what is read (usage.py) and sent (wrk.py, handshakes.py, idle.py); rounds and peers (rounds.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import usage, wrk
from benchmarks.cases import Case
from benchmarks.clients import tls_environment
from benchmarks.load import Load, LoadFailed
from benchmarks.processes import Running, pinned

PROXY_CORE, LOAD_CORE = 0, 1
SETTLE_S = 0.2
"""After the load: the time in which a proxy sees the last connections close."""
SLACK_S = 30.0
"""How much longer than told a client may take before it is given up."""
MOST_ERRORS = 0.01
WARM_IDLE_CONNECTIONS = 10


@dataclass(frozen=True)
class Sample:
    """What one window gave. `value` is microseconds of CPU per unit, or KiB per idle connection."""

    value: float
    load: Load
    busy: float
    """Share of the window in which the proxy was on its core: 1.0 is a saturated core."""
    foreign: float
    """Share of the window in which something else was on the proxy's core: noise, if it is not near 0."""
    peak_mib: float
    log_bytes: float
    """Bytes of access log per unit."""


@dataclass(frozen=True)
class Subject:
    """A running peer, as a window needs it."""

    running: Running
    ports: Mapping[str, int]
    access_log: Path


def measure(subject: Subject, case: Case, directory: Path, *, seconds: float, warm: float) -> Sample:
    """CPU time per unit under the load of a case."""
    environment = tls_environment(directory, case.version)
    if warm:
        _run_load(subject, case, directory, environment, warm)
    root = subject.running.pid
    usage.reset_peaks(root)
    os.truncate(subject.access_log, 0)
    core_before, cpu_before, started = (
        usage.core_busy_ns(PROXY_CORE),
        usage.tree_cpu_ns(root),
        time.perf_counter_ns(),
    )
    load = _run_load(subject, case, directory, environment, seconds)
    time.sleep(SETTLE_S)
    cpu_ns = usage.tree_cpu_ns(root) - cpu_before
    foreign_ns = usage.core_busy_ns(PROXY_CORE) - core_before - cpu_ns
    wall_ns = time.perf_counter_ns() - started
    check_load(case, load)
    return Sample(
        value=cpu_ns / 1000 / load.units,
        load=load,
        busy=cpu_ns / 1e9 / load.seconds,
        foreign=max(0.0, foreign_ns / wall_ns),
        peak_mib=usage.tree_memory(root).peak_rss / 1024,
        log_bytes=_bytes_written(subject.access_log) / load.units,
    )


def _bytes_written(log: Path) -> int:
    # Not its size: HAProxy drops O_APPEND from its standard output, so a log that was emptied goes on at the
    # old offset, behind a hole.
    return log.stat().st_blocks * 512


def check_load(case: Case, load: Load) -> None:
    """Raise if the work was not the case's work: it would be the wrong number under the right name."""
    if load.errors > MOST_ERRORS * (load.units or 1):
        raise LoadFailed(f"{case.name}: {load.errors} errors in {load.units} units")
    if not load.units:
        raise LoadFailed(f"{case.name}: not one unit was done")
    if case.kind == "handshake" and not case.resume and load.resumed:
        raise LoadFailed(f"{case.name}: {load.resumed} of {load.units} handshakes were resumed")
    if case.resume and load.resumed < 0.95 * load.units:
        raise LoadFailed(f"{case.name}: only {load.resumed} of {load.units} handshakes were resumed")


def _run_load(subject: Subject, case: Case, directory: Path, environment: Mapping[str, str], seconds: float) -> Load:
    port = subject.ports[case.key_type]
    if case.kind == "keepalive":
        script = directory / f"{case.name}.lua"
        script.write_text(wrk.script(case.path, case.upload_bytes))
        command = wrk.command(f"https://127.0.0.1:{port}/", str(script), seconds, case.connections)
        return wrk.parse(_run_client(command, environment, seconds))
    command = [sys.executable, "-m", "benchmarks.handshakes", "--port", str(port), "--seconds", str(seconds)]
    command += ["--resume"] if case.resume else []
    return Load(**json.loads(_run_client(command, environment, seconds)))


def _run_client(command: list[str], environment: Mapping[str, str], seconds: float) -> str:
    finished = subprocess.run(
        pinned(LOAD_CORE, command),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + SLACK_S,
        check=False,
    )
    if finished.returncode:
        raise LoadFailed(f"{command[0]} ended with {finished.returncode}: {finished.stderr[-2000:]}")
    return finished.stdout


def measure_idle(subject: Subject, case: Case, directory: Path, count: int) -> Sample:
    """Memory per idle connection, of a peer that has just been started."""
    environment = tls_environment(directory, case.version)
    root = subject.running.pid
    # What a proxy allocates once (buffers, pools, its first upstream connection) is no cost of a connection.
    _hold(subject, case, environment, WARM_IDLE_CONNECTIONS)
    time.sleep(SETTLE_S)
    before = usage.tree_memory(root)
    load, after = _hold(subject, case, environment, count)
    if load.errors or not load.units:
        raise LoadFailed(f"{case.name}: {load.errors} of {count} connections failed")
    return Sample((after.pss - before.pss) / load.units, load, 0.0, 0.0, after.peak_rss / 1024, 0.0)


def _hold(subject: Subject, case: Case, environment: Mapping[str, str], count: int) -> tuple[Load, usage.Memory]:
    port = str(subject.ports[case.key_type])
    command = [sys.executable, "-m", "benchmarks.idle", "--port", port, "--count", str(count)]
    with subprocess.Popen(
        pinned(LOAD_CORE, command),
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        load = Load(**json.loads(client.stdout.readline() or "{}"))
        time.sleep(SETTLE_S)
        memory = usage.tree_memory(subject.running.pid)
        client.communicate()  # ends its standard input, at which it goes
    return load, memory
