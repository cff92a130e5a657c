"""`clb token`: who may use the management address.

Owns:      the form of the commands; a secret is printed once, on standard output.
Elsewhere: tokens (control/token_routes.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from clb.cli.amounts import ago, moment
from clb.cli.node_client import EXIT_REFUSED, AsJson, ConfigFile, NodeClient, NodeFault, SocketFile

_PAGE = 500
_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}

app = typer.Typer(name="token", help="Tokens of the management address.", no_args_is_help=True, add_completion=False)

Which = Annotated[str, typer.Argument(metavar="ID|NAME", help="The token's id, or its name.")]


def _expiry(text: str | None) -> str | None:
    """`90d`, `12h`, `4w`, a time such as 2026-12-31T00:00:00Z, or `never`."""
    if text in (None, "never"):
        return None
    assert text is not None
    if found := re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text):
        return (datetime.now(UTC) + timedelta(seconds=int(found[1]) * _UNITS[found[2]])).isoformat(timespec="seconds")
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter('write "90d", "12h", "4w", "never", or a time such as 2026-12-31T00:00:00Z') from None
    return (given if given.tzinfo is not None else given.replace(tzinfo=UTC)).isoformat()


Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="TIME", help='From when on it opens nothing: "90d", "12h", a date, or "never".'),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for; unique.")],
    role: Annotated[str, typer.Option("--role", "-r", help="viewer, operator or admin.")] = "viewer",
    expires: Expires = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the token and nothing else.")] = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it. It is shown this once: who loses it makes another one."""
    body = {"name": name, "role": role, "expires_at": _expiry(expires)}
    made = _do(lambda node: node.post("/v1/tokens", body), config, socket)
    if as_json:
        typer.echo(json.dumps(made, indent=2))
        return
    typer.echo(made["secret"])
    if not quiet:
        until = f"until {made['expires_at']}" if made["expires_at"] else "until it is revoked"
        typer.echo(
            f"token {made['name']} ({made['id']}), role {made['role']}, {until}; keep it: it is not shown again",
            err=True,
        )


@app.command("list")
def list_tokens(
    show_all: Annotated[bool, typer.Option("--all", help="Revoked ones, too.")] = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """List tokens, without their secrets, which are nowhere."""
    found = _do(lambda node: list(_all(node, revoked=show_all)), config, socket)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    now = datetime.now(UTC)
    for each in found:
        typer.echo(_line(each, now))
    if not found:
        typer.echo(
            "there are no tokens: the management address answers health only; make one: clb token create NAME", err=True
        )


@app.command()
def show(token: Which, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Show one token."""
    found = _do(lambda node: _find(node, token), config, socket)
    _print(found, as_json=as_json)


@app.command()
def change(
    token: Which,
    name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    expires: Expires = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a token another name or expiry. Its role stays what it is."""
    body: dict[str, Any] = {} if name is None else {"name": name}
    if expires is not None:
        body["expires_at"] = _expiry(expires)
    if not body:
        raise typer.BadParameter("say what is to change: --name or --expires")

    def do(node: NodeClient) -> Any:
        found = _find(node, token)
        return node.ask("PATCH", f"/v1/tokens/{found['id']}", body, _as_seen(found))

    _print(_do(do, config, socket), as_json=as_json)


@app.command()
def revoke(token: Which, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Revoke a token for good, on every node of its store."""

    def do(node: NodeClient) -> Any:
        found = _find(node, token)
        return node.ask("DELETE", f"/v1/tokens/{found['id']}", None, _as_seen(found))

    _print(_do(do, config, socket), as_json=as_json)


@app.command()
def whoami(config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Say as whom this command asks."""
    answer = _do(lambda node: node.get("/v1/whoami"), config, socket)
    typer.echo(json.dumps(answer, indent=2) if as_json else f"{answer['name']}, role {answer['role']}")


def _do(ask: Any, config: Any, socket: Any) -> Any:
    try:
        return ask(NodeClient.of(config, socket))
    except NodeFault as fault:
        fault.leave()


def _all(node: NodeClient, *, revoked: bool = False) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        page = node.get(f"/v1/tokens?limit={_PAGE}&revoked={str(revoked).lower()}{after}")
        yield from page["tokens"]
        if page["next"] is None:
            return
        after = f"&after={quote(page['next'], safe='')}"


def _find(node: NodeClient, token: str) -> dict[str, Any]:
    if re.fullmatch(r"tok-[a-z2-9]{12}", token):
        shown: dict[str, Any] = node.get(f"/v1/tokens/{token}")
        return shown
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", token):
        found: list[dict[str, Any]] = node.get(f"/v1/tokens?{urlencode({'name': token})}")["tokens"]
        if found:
            return found[0]
    raise NodeFault(f'there is no token "{token}"; clb token list shows all', [], EXIT_REFUSED)


def _as_seen(token: dict[str, Any]) -> dict[str, str]:
    return {"If-Match": f'"{token["version"]}"'}


def _print(token: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(token, indent=2) if as_json else _line(token, datetime.now(UTC)))


def _line(token: dict[str, Any], now: datetime) -> str:
    until = f"until {moment(token['expires_at']):%Y-%m-%d %H:%M}" if token["expires_at"] else "no expiry"
    used = f"used {ago(token['last_used_at'], now)} ago" if token["last_used_at"] else "not used here lately"
    return f"{token['id']}  {token['name']:<20} {token['role']:<9} {token['state']:<8} {until}, {used}"
