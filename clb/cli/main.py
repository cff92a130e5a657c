"""The `clb` command: its words, and what every one of them has in common.

Owns:      which commands there are; version; that no traceback ever shows a local variable.
Elsewhere: each command in its own module.
"""

from __future__ import annotations

from typing import Annotated

import typer

from clb import __version__
from clb.cli import tls
from clb.cli.check import check
from clb.cli.serve import serve

app = typer.Typer(
    name="clb",
    help="HTTPS-terminating load balancer with a byte ledger, run from one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    # Locals of a traceback may be private keys.
    pretty_exceptions_show_locals=False,
)
app.command()(check)
app.command()(serve)
app.add_typer(tls.app, name="tls")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"clb {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """HTTPS-terminating load balancer with a byte ledger, run from one YAML file."""


def main() -> None:
    """Entry point of the installed command."""
    app()
