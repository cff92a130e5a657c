"""`clb reload`: have the running node take its configuration up again, or say what that would change.

Owns:      the form of the plan, the exit status.
Elsewhere: what changes and how (config/diff.py); doing it (service/).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clb.cli.node_client import ConfigFile, NodeClient, NodeFault, SocketFile

_PATIENCE_S = 200.0
_WORDS = {
    "in_place": "in place",
    "drained": "drained",
    "new_listener": "new listener",
    "removed_listener": "listener removed",
    "new_sockets": "new sockets",
    "new_base": "fresh TLS sessions",
    "workers": "workers",
    "control_restart": "management restarts",
    "needs_restart": "needs a restart",
}


def reload(
    config: ConfigFile = None,
    socket: SocketFile = None,
    plan: Annotated[bool, typer.Option("--plan", help="Change nothing; print what would change and how.")] = False,
) -> None:
    """Take the configuration file and the certificates up again, without losing a connection.

    Exit status 0 when it is in service, 1 for faults (all are printed, nothing was changed), 2 when no node answers.
    """
    try:
        answer = NodeClient.of(config, socket, _PATIENCE_S).post("/v1/reload", {"plan_only": plan})
    except NodeFault as fault:
        fault.leave()
    for warning in answer["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    for line in lines(answer):
        typer.echo(line)


def lines(answer: dict[str, Any]) -> list[str]:
    """The plan, and what became of it."""
    changes = answer["changes"]
    told = [f"{_WORDS.get(each['kind'], each['kind']):<19} {each['where']}: {each['what']}" for each in changes]
    count = f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
    version = f"configuration {answer['config_version']}"
    if not answer["done"]:
        return [*told, f"{count} planned, none made; {version} is in service"] if changes else ["nothing changes"]
    return [*told, f"{count if changes else 'nothing changed'}; {version} is in service"]
