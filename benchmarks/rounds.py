"""Run the peers side by side, round after round.

Owns:      starting everything once, the checks before, the interleaving, and the clean-up.
Elsewhere: one window (window.py); what comes of the samples (summary.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import equivalence, realserver
from benchmarks.cases import Case
from benchmarks.clients import tls_environment
from benchmarks.load import LoadFailed
from benchmarks.material import KeyPair, make_key_pairs
from benchmarks.peers import PEERS
from benchmarks.processes import Running, descriptor_limit, free_ports, pinned, start
from benchmarks.site import CONNECTIONS, Site
from benchmarks.window import LOAD_CORE, PROXY_CORE, Sample, Subject, measure, measure_idle

KEY_TYPES = ("ecdsa", "rsa")


@dataclass(frozen=True)
class Plan:
    """What the command line asked for."""

    cases: Sequence[Case]
    peers: Sequence[str]
    rounds: int
    seconds: float
    warm: float
    idle: int


def run(plan: Plan, tell: Callable[[str], None]) -> dict[str, dict[str, list[Sample]]]:
    """All samples, by case and peer."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clb-bench-")))
        subjects = stack.enter_context(running_peers(directory, plan.peers))
        for name, subject in subjects.items():
            check_equivalence(name, subject, directory)
        samples: dict[str, dict[str, list[Sample]]] = {}
        for case in plan.cases:
            samples[case.name] = {name: [] for name in plan.peers}
            for number in range(plan.rounds):
                for name in rotated(plan.peers, number):
                    sample = _window(plan, case, directory, name, subjects[name])
                    samples[case.name][name].append(sample)
                    tell(f"{case.name} round {number + 1} {name}: {sample.value:.1f} {case.measure}")
        return samples


def _window(plan: Plan, case: Case, directory: Path, name: str, subject: Subject) -> Sample:
    if case.kind != "idle":
        return measure(subject, case, directory, seconds=plan.seconds, warm=plan.warm)
    # No allocator gives back all it had, so only a process that has done nothing else shows what connections take.
    with tempfile.TemporaryDirectory(dir=directory) as fresh, running_peers(Path(fresh), [name]) as alone:
        return measure_idle(alone[name], case, directory, plan.idle)


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """Each round begins with another peer, so that none always follows the same one."""
    shift = turn % len(names)
    return [*names[shift:], *names[:shift]]


@contextlib.contextmanager
def running_peers(directory: Path, names: Sequence[str]) -> Iterator[Mapping[str, Subject]]:
    """The real server and every peer, ended when the block is left."""
    key_pairs = make_key_pairs(directory)
    upstream_port, *ports = free_ports(1 + len(KEY_TYPES) * len(names))
    with contextlib.ExitStack() as stack:
        started = _start_real_server(directory, upstream_port)
        stack.callback(started.stop)
        started.await_ports([upstream_port])
        subjects = {}
        for index, name in enumerate(names):
            own = dict(zip(KEY_TYPES, ports[index * len(KEY_TYPES) :], strict=False))
            running, subjects[name] = _start_peer(directory, name, own, upstream_port, key_pairs)
            stack.callback(running.stop)
            running.await_ports(list(own.values()))
        yield subjects


def _start_real_server(directory: Path, port: int) -> Running:
    home = directory / "real-server"
    home.mkdir()
    return start("real-server", realserver.prepare(port, home, descriptor_limit()), core=LOAD_CORE, directory=home)


def _start_peer(
    directory: Path, name: str, ports: Mapping[str, int], upstream_port: int, key_pairs: Mapping[str, KeyPair]
) -> tuple[Running, Subject]:
    home = directory / name
    home.mkdir()
    site = Site(home, ports, upstream_port, key_pairs, min(CONNECTIONS, descriptor_limit() // 2 - 200))
    launch = PEERS[name](site)
    site.access_log.touch()
    running = start(
        name,
        launch.command,
        core=PROXY_CORE,
        directory=home,
        environment=launch.environment,
        output=site.access_log if launch.logs_to_stdout else None,
    )
    return running, Subject(running, ports, site.access_log)


def check_equivalence(name: str, subject: Subject, directory: Path) -> None:
    """Raise unless the peer speaks both versions on both listeners as the others do."""
    for version in ("1.3", "1.2"):
        for key_type, port in subject.ports.items():
            finished = subprocess.run(
                pinned(LOAD_CORE, [sys.executable, "-m", "benchmarks.equivalence", "--port", str(port)]),
                env={**os.environ, **tls_environment(directory, version)},
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            if finished.returncode:
                raise LoadFailed(f"{name}: {finished.stderr[-1500:]}\n{subject.running.output_tail()}")
            seen = equivalence.Seen(**json.loads(finished.stdout))
            if found := equivalence.faults(seen, version=version, key_type=key_type):
                raise LoadFailed(f"{name}, {key_type} listener: {'; '.join(found)}")
