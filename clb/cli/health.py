"""`clb health`: how the targets are.

Owns:      the form of what is printed.
Elsewhere: what a node thinks of its targets (control/target_routes.py).
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from clb.cli.node_client import AsJson, ConfigFile, NodeClient, SocketFile
from clb.cli.object_client import Telling
from clb.cli.table import table

_MOST = 1000


def health(
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state: unhealthy, ...")] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how the targets are, and why.

    Exit status 1 if one of those shown is unhealthy or ejected.
    """
    with Telling():
        client = NodeClient.of(config, socket)
        found: list[dict[str, Any]] = []
        after: str | None = None
        counts: dict[str, int] = {}
        while True:
            filters = {"state": state, "after": after, "limit": _MOST}
            page = client.get(f"/v1/health?{urlencode({name: each for name, each in filters.items() if each})}")
            found += page["targets"]
            counts, after = page["counts"], page["next"]
            if after is None:
                break
    if as_json:
        typer.echo(json.dumps({"counts": counts, "targets": found}, indent=2))
    else:
        typer.echo(", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no targets")
        rows = [(each["target"], each["state"], each["why"] or "", each["where"]) for each in found]
        for line in table(("TARGET", "STATE", "WHY", "OF"), rows) if rows else ():
            typer.echo(line)
    if any(each["state"] in ("unhealthy", "ejected") for each in found):
        raise typer.Exit(1)
