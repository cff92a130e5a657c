"""`clb export`: the whole state of a node as a configuration file.

Owns:      where it is written, and the secrets of the present file, which the API does not give out.
Elsewhere: what is in it (service/export.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from clb.cli.node_client import EXIT_NO_NODE, ConfigFile, NodeClient, NodeFault, SocketFile
from clb.config.document import DocumentError, parse

_SECRETS = {"store": ("url",), "keyring": ("env", "command"), "notify": ("secret",)}
_REMARK = re.compile(r"^# Take .*\n", re.MULTILINE)


def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file to be made; default: standard output.")
    ] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
) -> None:
    """Write the whole state as YAML that `clb check` takes; on the same store its use changes nothing.

    Private keys are not in it: certificates of the store are named by their ids. With --config the secrets of that
    file (the database's URL, the keyring's place, the webhook's secret) are put in; else a remark says what lacks.
    """
    try:
        text = NodeClient.of(config, socket, timeout_s=120.0).get("/v1/export")
        if config is not None:
            text = with_secrets(text, _read(config))
    except NodeFault as fault:
        fault.leave()
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        NodeFault(f"{output}: {error.strerror}", [], EXIT_NO_NODE).leave()


def with_secrets(text: str, present: Mapping[str, Any]) -> str:
    """Put the secrets of the present file into what was exported."""
    text = _REMARK.sub("", text)
    for section, keys in _SECRETS.items():
        there = present.get(section)
        secrets = {key: there[key] for key in keys if there.get(key) is not None} if isinstance(there, Mapping) else {}
        if not secrets:
            continue
        block = re.search(rf"^{section}:\n(?:[ -].*\n)*", text, re.MULTILINE)
        known = yaml.safe_load(block[0])[section] if block is not None else {}
        written = yaml.safe_dump({section: {**known, **_plain(secrets)}}, sort_keys=False, allow_unicode=True)
        if block is not None:
            text = text[: block.start()] + written + text[block.end() :]
        else:
            head, _, rest = text.partition("\n")
            text = f"{head}\n{written}{rest}"
    return text


def _plain(secrets: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in secrets.items()}


def _read(config: Path) -> Mapping[str, Any]:
    try:
        root, _ = parse(config.read_bytes())
    except OSError as error:
        raise NodeFault(f"{config}: {error.strerror}", [], EXIT_NO_NODE) from error
    except DocumentError as error:
        raise NodeFault(f"{config}:{error.place[0]}:{error.place[1]}: {error.message}", [], EXIT_NO_NODE) from error
    return root.value if isinstance(root.value, Mapping) else {}
