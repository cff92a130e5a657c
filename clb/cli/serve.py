"""`clb serve`: run the load balancer in the foreground.

Owns:      the command's options, its exit codes and what it prints when it cannot start.
Elsewhere: running (service/serve.py); checking (check.py does the same without serving).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from clb.config.faults import ConfigErrors
from clb.observe.logging import configure
from clb.service.materials import load_all
from clb.service.serve import StartError
from clb.service.serve import serve as run

_logger = logging.getLogger(__name__)

EXIT_CONFIG = 1
EXIT_START = 2


def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file.", show_default=False)],
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Form of the log on standard error.")] = "text",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option()] = "info",
) -> None:
    """Serve what the file says; SIGTERM drains.

    Exit status 0 after a drain, 1 for faults in the file, 2 for a start that fails.
    """
    configure(log_format, log_level)
    try:
        parsed, materials, warnings = load_all(config)
        for warning in warnings:
            _logger.warning(str(warning))
        run(parsed, materials)
    except ConfigErrors as errors:
        typer.echo(str(errors), err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    except StartError as error:
        typer.echo(f"clb: {error}", err=True)
        raise typer.Exit(EXIT_START) from None
