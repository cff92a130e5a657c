"""`clb admin`: the management address of the node.

Owns:      how its certificate is told of.
Elsewhere: the certificate (service/admin_identity.py).
"""

from __future__ import annotations

import json

import typer

from clb.cli.node_client import EXIT_REFUSED, AsJson, ConfigFile, NodeClient, NodeFault, SocketFile

app = typer.Typer(name="admin", help="The management address.", no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """The management address."""


@app.command()
def fingerprint(config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Print the SHA-256 fingerprint of the management certificate, for clients to pin."""
    try:
        management = NodeClient.of(config, socket).get("/v1/status")["management"]
        if management["tls"] is None:
            raise NodeFault("the management address speaks plain HTTP (admin.danger_plain_http)", [], EXIT_REFUSED)
    except NodeFault as fault:
        fault.leave()
    tls = management["tls"]
    typer.echo(json.dumps(tls, indent=2) if as_json else tls["fingerprint"])
    if not as_json:
        typer.echo(
            f"names {', '.join(tls['names'])}; until {tls['not_after'][:10]}; key for curl --pinnedpubkey: "
            f"{tls['public_key_pin']}",
            err=True,
        )
