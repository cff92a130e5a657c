"""The `clb` command: its words, and what every one of them has in common.

Owns:      which commands there are; version; that no traceback ever shows a local variable.
Elsewhere: each command in its own module, which is imported when the command is named: `clb status` must not wait
           for what `clb serve` needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clb import __version__

COMMANDS = {
    "check": "clb.cli.check",
    "serve": "clb.cli.serve",
    "status": "clb.cli.status",
    "top": "clb.cli.top",
    "reload": "clb.cli.reload",
    "explain": "clb.cli.explain",
    "export": "clb.cli.export",
    "lb": "clb.cli.lb",
    "listener": "clb.cli.listener",
    "rule": "clb.cli.rule",
    "target": "clb.cli.target",
    "health": "clb.cli.health",
    "usage": "clb.cli.usage",
    "cert": "clb.cli.cert",
    "keyring": "clb.cli.keyring",
    "token": "clb.cli.token",
    "audit": "clb.cli.audit",
    "admin": "clb.cli.admin",
    "store": "clb.cli.store",
    "tls": "clb.cli.tls",
    "api": "clb.cli.api",
}
"""Word and module, in the order of the help; the module has a function of that name, or an `app` of several."""


class _LazyCommands(TyperGroup):
    """Finds a command when it is asked for; the help asks for all."""

    # Some versions of Typer bring their own copy of Click, so its types have no name that holds for all.
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name])
        group: typer.Typer | None = getattr(module, "app", None)
        if group is None:
            run: Callable[..., None] = getattr(module, cmd_name)
            group = typer.Typer(add_completion=False)
            group.command(cmd_name)(run)
        command = typer.main.get_command(group)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="clb",
    cls=_LazyCommands,
    help="HTTPS-terminating load balancer with a byte ledger, run from one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    # Locals of a traceback may be private keys.
    pretty_exceptions_show_locals=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"clb {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="CLB_URL", help="Ask a node by its management address: https://HOST:9443."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", envvar="CLB_TOKEN_FILE", help="With --url: has the token; else CLB_TOKEN does."),
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", envvar="CLB_CA", help="With --url: PEM of whom to trust.")] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", envvar="CLB_FINGERPRINT", help="With --url: SHA-256 of the node's certificate."),
    ] = None,
) -> None:
    """HTTPS-terminating load balancer with a byte ledger, run from one YAML file."""
    if url is not None:
        from clb.cli.node_client import Elsewhere, choose

        choose(Elsewhere(url, token_file, ca, fingerprint))
    elif ca is not None or fingerprint is not None:
        raise typer.BadParameter("--ca and --fingerprint are for a node that --url names")


def main() -> None:
    """Entry point of the installed command."""
    app()
