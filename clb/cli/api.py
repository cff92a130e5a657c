"""`clb api`: the management API itself.

Owns:      the words.
Elsewhere: the document (control/openapi.py).
"""

from __future__ import annotations

import json

import typer

from clb.cli.node_client import ConfigFile, NodeClient, SocketFile
from clb.cli.object_client import Telling

app = typer.Typer(help="The management API of the running node.", no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """The management API of the running node."""


@app.command()
def openapi(config: ConfigFile = None, socket: SocketFile = None) -> None:
    """Print the OpenAPI document, for clients and tools to be made of."""
    with Telling():
        document = NodeClient.of(config, socket).get("/v1/openapi.json")
    typer.echo(json.dumps(document, indent=2))
