"""`clb keyring`: make a keyring, look at it, and move stored private keys to a new key while the node runs.

Owns:      the file of a keyring, and the order of a rotation.
Elsewhere: keyrings (certificates/keyring.py); moving the keys (control/keyring_routes.py).

A rotation: a new key in front of the file (add), the node reads it (reload), all stored keys move to it (rewrap), the
old keys leave the file (drop). After each step everything opens, so a rotation that was cut short is begun again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from clb.certificates.keyring import (
    Keyring,
    KeyringFault,
    new_secret,
    with_current_key_only,
    with_new_key,
)
from clb.certificates.keyring_source import FILE_NAME, load_keyring, make_keyring, replace_keyring
from clb.cli.node_client import DEFAULT_STATE_DIR, AsJson, ConfigFile, NodeClient, NodeFault, SocketFile, read_plainly
from clb.cli.table import table
from clb.config.models import Keyring as Source

_PATIENCE_S = 200.0
_Step = Literal["add", "rewrap", "drop"]

app = typer.Typer(help="The keyring that stored private keys are under.", no_args_is_help=True, add_completion=False)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help='Where to put it, or "-" to print it.')],
) -> None:
    """Make a keyring with a new key, in a file that only its owner can read. It is never put over another one."""
    if str(file) == "-":
        typer.echo(new_secret().decode("ascii"), nl=False)
        return
    try:
        made = Keyring.from_secret(make_keyring(file))
    except KeyringFault as fault:
        _fail(str(fault))
    typer.echo(f"{file}: key {made.current}")
    typer.echo("keep a copy, away from the database: losing it is losing every private key that is stored under it")


@app.command()
def show(config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Show the ids of the keys that the node has or lacks, and how many private keys are under each."""
    try:
        answer = NodeClient.of(config, socket).get("/v1/keyring")
    except NodeFault as fault:
        fault.leave()
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if not answer["keys"]:
        typer.echo("no keyring: one is made when the first private key is stored")
        return
    for line in table(("KEY", "STATE", "PRIVATE KEYS"), [_row(key) for key in answer["keys"]]):
        typer.echo(line)


@app.command()
def rotate(
    config: ConfigFile = None,
    socket: SocketFile = None,
    only: Annotated[
        _Step | None,
        typer.Option(help="One step: several nodes with one store need each step on all of them before the next."),
    ] = None,
) -> None:
    """Put a new key into use and take the old ones out, while the node runs."""
    try:
        rotation = _Rotation(NodeClient.of(config, socket, _PATIENCE_S), config, socket)
        if only in (None, "add"):
            rotation.add()
        if only in (None, "rewrap"):
            rotation.rewrap()
        if only in (None, "drop"):
            rotation.drop()
    except NodeFault as fault:
        fault.leave()
    except KeyringFault as fault:
        _fail(str(fault))


class _Rotation:
    def __init__(self, client: NodeClient, config: Path | None, socket: Path | None) -> None:
        self._client = client
        self._config = config
        self._socket = socket

    def add(self) -> None:
        path = self._file()
        secret = with_new_key(load_keyring(Source(file=path), path.parent))
        replace_keyring(path, secret)
        current = Keyring.from_secret(secret).current
        typer.echo(f"{path}: new key {current}")
        self._reload(current)

    def rewrap(self) -> None:
        answer = self._client.post("/v1/keyring/rewrap", None)
        typer.echo(f"{answer['moved']} private keys moved to {answer['current']}")
        if answer["left"]:
            message = "some private keys could not be moved; the old keys stay in the keyring until they are"
            raise NodeFault(message, [str(line) for line in answer["left"]], 1)

    def drop(self) -> None:
        path = self._file()
        secret = load_keyring(Source(file=path), path.parent)
        current = Keyring.from_secret(secret).current
        needed = [
            f"{key['id']}: {key['sealed']} private keys"
            for key in self._client.get("/v1/keyring")["keys"]
            if key["sealed"] and key["id"] != current
        ]
        if needed:
            raise NodeFault("old keys are still needed; rewrap first", needed, 1)
        replace_keyring(path, with_current_key_only(secret))
        typer.echo(f"{path}: only key {current} is left")
        self._reload(current)

    def _reload(self, current: str) -> None:
        self._client.post("/v1/reload", {})
        keys = self._client.get("/v1/keyring")["keys"]
        if not any(key["current"] and key["id"] == current for key in keys):
            message = "the node does not have this keyring; give the --config that it runs with"
            raise NodeFault(message, [], 1)

    def _file(self) -> Path:
        if self._config is None:
            return (self._socket.parent if self._socket is not None else DEFAULT_STATE_DIR) / FILE_NAME
        given = read_plainly(self._config).get("keyring")
        source: dict[str, Any] = given if isinstance(given, dict) else {}
        if source.get("env") or source.get("command"):
            message = "the keyring is not in a file: put a new key in front of it (clb keyring init - prints one)"
            raise NodeFault(f"{message}, reload or restart, then: clb keyring rotate --only rewrap", [], 1)
        if isinstance(source.get("file"), str):
            return self._config.absolute().parent / str(source["file"])
        return self._client.path.parent / FILE_NAME


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    state = "current" if key["current"] else "opens only" if key["present"] else "MISSING"
    return key["id"], state, str(key["sealed"])


def _fail(message: str) -> NoReturn:
    typer.echo(f"clb: {message}", err=True)
    raise typer.Exit(1)
