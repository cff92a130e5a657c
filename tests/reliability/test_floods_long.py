"""Must hold 5, long form: floods of the full size against two workers, in turns with quiet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from clb_node import ClbNode, listener, rule
from flood_site import descriptors, memory_mib, probe, program
from measured import Measured
from patience import patience

ROUNDS = 3
SECONDS = 5.0
RECOVERY_S = 5.0
NO_LESS_THAN_MS = 5.0
"""What a figure of a few milliseconds may grow by on a machine where everything shares few processors."""
LEFT_OVER = 64 + 16
"""Descriptors that may be open after a flood and were not before: idle connections to the real server, and a few."""
FULL_MS = 250.0
"""What others may wait at the worst where a flood takes all the processors that there are."""
# kind: (program, listener, how many connections or requests a second, memory in MiB that they may take)
FLOODS = {
    "not_found_5k": ("not_found_flood.py", "http", (5_000,), 30),
    "not_found_20k": ("not_found_flood.py", "http", (20_000,), 30),
    "half_open": ("floods.py", "https", ("half_open", 1000), 60),
    "slowloris": ("floods.py", "http", ("slowloris", 1000), 60),
    "slow_body": ("floods.py", "http", ("slow_body", 1000), 120),
    "slow_read": ("floods.py", "http", ("slow_read", 300), 300),
    "never_read": ("floods.py", "http", ("never_read", 300), 300),
    "idle": ("floods.py", "http", ("idle", 5000), 200),
}
FULL = {"not_found_20k"}
"""Together with the program that makes them, these need more than two cores have."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
def test_flood(kind: str, node: Callable[..., ClbNode], measured: Measured) -> None:
    name, attacked, arguments, may_take_mib = FLOODS[kind]
    with program("flood_server.py") as (port, _):
        clb = _node(node, int(port))
        probe(clb.ports["https"], 1.0)
        before, open_before = memory_mib(clb.pid), descriptors(clb.pid)
        calm, flooded, floods, memory, recovery = [], [], [], [], []
        for _ in range(ROUNDS):
            calm.append(probe(clb.ports["https"], SECONDS))
            with program(name, *_with_port(arguments, clb.ports[attacked])) as (_, flood):
                flooded.append(probe(clb.ports["https"], SECONDS))
                memory.append(memory_mib(clb.pid))
            floods.append(flood)
            recovery.append(_until_well(clb, open_before))
    failed = sum(each["failed"] + each["new_failed"] for each in flooded)
    asked = sum(each["asked"] + each["new_asked"] for each in flooded)
    p99_calm, p99 = (statistics.median(each["p99"] for each in rounds) for rounds in (calm, flooded))
    took = max(memory) - before
    measured.add(f"{kind}: {_shown(kind, arguments, floods)}; failed requests of others", f"{failed} of {asked}", 0)
    measured.add(f"{kind}: p99 of others, calm and flooded", f"{p99_calm:.1f} ms, {p99:.1f} ms", "<= 2x")
    measured.add(f"{kind}: memory of all processes", f"{before:.0f} MiB, {took:+.0f}", f"<= +{may_take_mib}")
    measured.add(f"{kind}: well again after", f"{max(recovery):.1f} s", f"{RECOVERY_S:g} s")
    assert failed == 0
    at_most_ms = FULL_MS if kind in FULL else max(2 * p99_calm, p99_calm + NO_LESS_THAN_MS)
    assert p99 <= at_most_ms * patience()
    assert took <= may_take_mib


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["idle", "half_open"])
def test_low_ulimit(kind: str, node: Callable[..., ClbNode], measured: Measured) -> None:
    """Who has a connection keeps it, and all is well once the flood is over."""
    with program("flood_server.py") as (port, _):
        clb = _node(node, int(port), prefix=("prlimit", "--nofile=256:256"))
        attacked = clb.ports["http" if kind == "idle" else "https"]
        open_before = descriptors(clb.pid)
        with program("flood_probe.py", clb.ports["https"]) as (_, found):
            with program("floods.py", kind, attacked, 2000) as (_, flood):
                time.sleep(ROUNDS * SECONDS)
            recovery = _until_well(clb, open_before)
    what = f"256 descriptors, 2,000 x {kind}, cut and made again {flood['cut']:,} times"
    measured.add(f"{what}: failed requests on kept connections", f"{found['failed']} of {found['asked']}", 0)
    measured.add(f"{what}: well again after", f"{recovery:.1f} s", f"{RECOVERY_S:g} s")
    assert found["failed"] == 0


def _node(node: Callable[..., ClbNode], port: int, **keys: Any) -> ClbNode:
    target = {"address": "127.0.0.1", "port": port}
    # Who asks for a name that nobody has comes to the default domain, and finds nothing there.
    rules = [rule(target, default=False), rule(target, domain="default.example.com", url="=/only")]
    listeners = (listener(each, rules=rules) for each in ("https", "http"))
    return node(*listeners, limits={"loop_lag": "200ms"}, **keys)


def _with_port(arguments: tuple[object, ...], port: int) -> list[object]:
    """Before the last argument, which is the number."""
    return [*arguments[:-1], port, arguments[-1]]


def _until_well(clb: ClbNode, open_before: int) -> float:
    """How long until it serves anybody new at once, and holds nothing of the flood any more."""
    began = time.monotonic()
    while True:
        found = probe(clb.ports["https"], 0.3)
        is_served = found["failed"] + found["new_failed"] == 0
        if is_served and descriptors(clb.pid) <= open_before + LEFT_OVER:
            return time.monotonic() - began
        assert time.monotonic() - began < RECOVERY_S, "did not recover"


def _shown(kind: str, arguments: tuple[object, ...], floods: list[dict[str, Any]]) -> str:
    if kind.startswith("not_found"):
        rate = statistics.median(each["answered"] / each["seconds"] for each in floods)
        return f"{rate:,.0f} requests/s answered of {arguments[-1]:,}"
    return f"{arguments[-1]:,} at once, {sum(each['cut'] for each in floods):,} cut"
