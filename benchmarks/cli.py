"""The command line of scripts/bench.

Owns:      the options, the printing, the results file.
Elsewhere: everything that is measured (rounds.py) and computed (summary.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, summary
from benchmarks.cases import CASES, select
from benchmarks.load import LoadFailed
from benchmarks.peers import PEERS
from benchmarks.processes import StartFailed
from benchmarks.rounds import Plan, run
from benchmarks.window import PROXY_CORE

RESULTS = Path(__file__).parent / "results"
THOROUGH: dict[str, Any] = {"rounds": 3, "seconds": 4.0, "warm": 1.0, "idle": 2000}
QUICK: dict[str, Any] = {"rounds": 1, "seconds": 1.0, "warm": 0.0, "idle": 500}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the JSON. Over a bound is a figure, not a failure: the status is 0."""
    parser = option_parser()
    options = parser.parse_args(arguments)
    try:
        plan = plan_of(options)
    except ValueError as error:
        parser.error(str(error))
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the proxy, one for the load and the real server")
    # A plain SIGTERM would leave the peers behind; as an exception it passes through the clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        samples = run(plan, lambda line: print(line, file=sys.stderr, flush=True))
    except (LoadFailed, StartFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report(plan, samples)
    return 0


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan behind the options; ValueError names a word that means nothing."""
    peers = options.peers.split(",")
    for peer in peers:
        if peer not in PEERS:
            raise ValueError(f"no peer named {peer!r}; there are {', '.join(PEERS)}")
    plan = Plan(select(options.only.split(",")), peers, **(QUICK if options.quick else THOROUGH))
    asked = {name: getattr(options, name) for name in THOROUGH}
    return dataclasses.replace(plan, **{name: value for name, value in asked.items() if value is not None})


def report(plan: Plan, samples: summary.Samples) -> None:
    """Print the tables and write the results file."""
    rows = [summary.summarise(case, peer, samples[case.name][peer]) for case in plan.cases for peer in plan.peers]
    found = [ratio for case in plan.cases for ratio in summary.ratios(case, rows)]
    facts = machine.describe(plan.peers, PROXY_CORE)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()) + "\n")
    print(summary.table_of_rows(rows))
    if found:
        print("\n" + summary.table_of_ratios(found))
    for warning in summary.warnings(rows):
        print(f"warning: {warning}")
    print(f"\nwritten: {_write(plan, facts, rows, found, samples)}")


def _write(
    plan: Plan,
    facts: dict[str, str],
    rows: Sequence[summary.Row],
    found: Sequence[summary.Ratio],
    samples: summary.Samples,
) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    document: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": facts,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "idle_connections": plan.idle,
        "rows": [dataclasses.asdict(row) for row in rows],
        "ratios": [{**dataclasses.asdict(ratio), "holds": ratio.holds} for ratio in found],
        "samples": {
            case: {peer: [dataclasses.asdict(sample) for sample in taken] for peer, taken in by_peer.items()}
            for case, by_peer in samples.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(CASES), help="cases, by name or first part: small,full,idle")
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, help="default 3; medians are taken over them")
    parser.add_argument("--seconds", type=float, help="length of one window; default 4")
    parser.add_argument("--warm", type=float, help="load before each window; default 1")
    parser.add_argument("--idle", type=int, help="idle connections; default 2000")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that all works, not figures")
    return parser
