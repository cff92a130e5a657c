"""`clb tls audit`: what do the listeners of a configuration really negotiate?

Owns:      the choice of listeners and the form of the report (text or JSON).
Elsewhere: the handshakes and the reasons (tls/audit.py); contexts from configuration (service/contexts.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from clb.config.faults import ConfigErrors
from clb.config.models import Config, Listener
from clb.service.contexts import build_contexts
from clb.service.materials import Materials, load_all
from clb.tls.audit import AuditReport, Trial, audit
from clb.tls.contexts import ContextFault

EXIT_FAULT = 1

app = typer.Typer(help="Look into TLS.", no_args_is_help=True, add_completion=False)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The YAML file.", show_default=False)]
ListenerName = Annotated[
    str | None, typer.Option("--listener", metavar="NAME", help="Only this one; `balancer/name` if several have it.")
]
ServerName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Audit the certificate served for this name, not the default.")
]


@app.callback()
def _group() -> None:
    """Keep `audit` a word of its own while it is the only command."""


@app.command("audit")
def audit_listeners(
    config: ConfigFile,
    listener: ListenerName = None,
    server_name: ServerName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try every version and every suite of the documented string, by real handshakes in memory.

    Exit status 0 when the handshakes were made, whatever they came to; 1 for faults in the file.
    """
    try:
        parsed, materials, _ = load_all(config)
    except ConfigErrors as errors:
        _fail(str(errors))
    reports = {
        f"{balancer}/{item.name}": _audit(balancer, item, materials, server_name)
        for balancer, item in _choose(parsed, listener)
    }
    if as_json:
        typer.echo(json.dumps([_as_json(label, report) for label, report in reports.items()], indent=2))
    else:
        typer.echo("\n\n".join("\n".join(_as_text(label, report)) for label, report in reports.items()))


def _choose(config: Config, name: str | None) -> list[tuple[str, Listener]]:
    """The https listeners that this node serves, or those of them that answer to the name."""
    listeners = [
        (balancer.name, listener)
        for balancer in config.served
        for listener in balancer.listeners
        if listener.protocol == "https"
    ]
    chosen = [
        (balancer, listener)
        for balancer, listener in listeners
        if name is None or name in (listener.name, f"{balancer}/{listener.name}")
    ]
    if not chosen:
        known = ", ".join(f"{balancer}/{listener.name}" for balancer, listener in listeners) or "none"
        _fail(f"clb: no https listener {name or 'to audit'}; this node serves: {known}")
    return chosen


def _audit(balancer: str, listener: Listener, materials: Materials, server_name: str | None) -> AuditReport:
    try:
        return audit(build_contexts(listener, balancer, materials), server_name)
    except ContextFault as fault:
        names = ", ".join(fault.identity.names) if fault.identity else ""
        part = f"{fault.part} for {names}" if names else fault.part
        _fail(f"clb: listener {balancer}/{listener.name}: {part}: {fault}")


def _as_json(label: str, report: AuditReport) -> dict[str, object]:
    return {
        "listener": label,
        "policy": report.policy,
        "key_types": report.key_types,
        "versions": [_trial_as_json(trial) for trial in report.versions],
        "suites": [_trial_as_json(trial) for trial in report.suites],
    }


def _trial_as_json(trial: Trial) -> dict[str, object]:
    return {**dataclasses.asdict(trial), "explanation": trial.explanation or None}


def _as_text(label: str, report: AuditReport) -> Iterator[str]:
    yield f"listener {label}: policy {report.policy}, certificates {' + '.join(report.key_types)}"
    yield "  versions"
    for trial in report.versions:
        yield f"    {trial.name:<8} {trial.negotiated or 'no: ' + trial.explanation}"
    served = [trial for trial in report.suites if trial.negotiated]
    yield f"  suites that negotiate: {len(served)} of {len(report.suites)}"
    for trial in served:
        yield f"    {trial.negotiated:<8} {trial.name}"
    yield f"  suites that do not: {len(report.suites) - len(served)}"
    by_explanation: dict[str, list[str]] = {}
    for trial in report.suites:
        if trial.negotiated is None:
            by_explanation.setdefault(trial.explanation, []).append(trial.name)
    for explanation, names in by_explanation.items():
        yield f"    {len(names)}: {explanation}"
        yield from (f"      {name}" for name in names)


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(EXIT_FAULT)
