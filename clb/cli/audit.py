"""`clb audit`: who did what.

Owns:      the form of a line.
Elsewhere: the records (control/audit_routes.py).
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from clb.cli.amounts import moment
from clb.cli.node_client import AsJson, ConfigFile, NodeClient, NodeFault, SocketFile

_PAGE = 500


def audit(
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=1_000_000, help="So many of the newest.")] = 50,
    actor: Annotated[str | None, typer.Option("--actor", help="Only by whom this is a part of.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only what begins so: token, token.create.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only on what this is a part of: id, name.")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only with this outcome: done, refused.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only of then and later: 2026-03-01T00:00:00Z.")] = None,
    details: Annotated[bool, typer.Option("--details", help="What was there before and after, too.")] = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, oldest first of what is shown."""
    filters = {"actor": actor, "action": action, "subject": subject, "outcome": outcome, "since": since}
    query = {name: value for name, value in filters.items() if value is not None}
    try:
        found = _records(NodeClient.of(config, socket, timeout_s=60.0), query, number)
    except NodeFault as fault:
        fault.leave()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for record in reversed(found):
        typer.echo(_line(record))
        if details:
            for side in ("before", "after"):
                if record[side] is not None:
                    typer.echo(f"    {side}: {json.dumps(record[side], ensure_ascii=True)}")


def _records(node: NodeClient, query: dict[str, str], number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    below = 0
    while len(found) < number:
        limit = min(_PAGE, number - len(found))
        page = node.get(f"/v1/audit?{urlencode({**query, 'below': below, 'limit': limit})}")
        found += page["records"]
        if page["next"] is None:
            break
        below = page["next"]
    return found


def _line(record: dict[str, Any]) -> str:
    outcome = "" if record["outcome"] == "done" else f" ({record['outcome']})"
    at = f"{moment(record['at']):%Y-%m-%d %H:%M:%S}"
    return f"{record['number']:>7}  {at}  {record['actor']}  {record['action']}  {record['subject']}{outcome}"
