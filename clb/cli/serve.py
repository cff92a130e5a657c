"""`clb serve`: run the load balancer in the foreground.

Owns:      the command's options, its exit codes and what it prints when it cannot start.
Elsewhere: running (service/supervisor.py); checking (check.py does the same without serving).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clb.service.node import Settings
from clb.service.start_error import StartError
from clb.service.starts import LogSettings
from clb.service.supervisor import FaultyFile, Supervisor

EXIT_CONFIG = 1
EXIT_START = 2


def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file.", show_default=False)],
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Form of the log on standard error.")] = "text",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option()] = "info",
) -> None:
    """Serve what the file says. SIGTERM drains, SIGHUP reloads, SIGUSR2 takes up a new version of clb.

    Exit status 0 after a drain, 1 for faults in the file, 2 for a start that fails, 3 if workers keep dying.
    """
    try:
        status = Supervisor(Settings(config, LogSettings(log_format, log_level))).run()
    except FaultyFile as faults:
        typer.echo(str(faults), err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    except StartError as error:
        typer.echo(f"clb: {error}", err=True)
        raise typer.Exit(EXIT_START) from None
    raise typer.Exit(status)
