"""`clb cert`: certificates of the node on this machine.

Owns:      the words, what is read from files, and the form of what is printed.
Elsewhere: the checks and the writes (control/certificates.py).

A private key goes from its file to the node over the control socket, and is never an argument: those can be seen by
every user of the machine. A passphrase is asked for, or read from a file.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer

from clb.cli.node_client import AsJson, ConfigFile, NodeClient, NodeFault, SocketFile
from clb.cli.table import table

_PATIENCE_S = 60.0
_LARGEST_FILE = 1 << 20
_PATH = "/v1/certificates"

app = typer.Typer(help="Certificates of the running node.", no_args_is_help=True, add_completion=False)

Reference = Annotated[str, typer.Argument(metavar="NAME|ID", help="The certificate, by name or id.")]
ChainFile = Annotated[
    Path,
    typer.Option("--certificate", metavar="FILE", help="PEM: leaf first, then what issued it.", show_default=False),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="PEM of the private key; of a server certificate only.")
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="First line: passphrase of the key. By default it is asked for."),
]
IsCa = Annotated[bool, typer.Option("--ca", help="It is a CA certificate, which checks clients.")]
Reorder = Annotated[bool, typer.Option("--reorder", help="Put the chain in order if it is not.")]
Force = Annotated[bool, typer.Option("--force", help="Also if it is expired, not valid yet, or breaks clients.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would change.")]


@app.command()
def upload(
    name: Annotated[str, typer.Argument(help="What listeners will call it.")],
    certificate: ChainFile,
    key: KeyFile = None,
    ca: IsCa = False,
    passphrase_file: PassphraseFile = None,
    reorder: Reorder = False,
    force: Force = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Store a certificate. Its key is encrypted and never comes back.

    Exit status 1 if it is not sound: every fault is printed with what to do.
    """
    body = {"name": name, "type": "ca" if ca else "server"}
    with _Telling() as telling:
        body |= _material(certificate, key, passphrase_file, reorder=reorder, force=force)
        answer = _send(NodeClient.of(config, socket, _PATIENCE_S), "POST", _path("", dry_run), body, telling)
        _print_written(answer, "stored", as_json)


@app.command("list")
def list_certificates(config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """List certificates of the store and of the configuration file."""
    with _Telling():
        found = list(_every(NodeClient.of(config, socket)))
    if as_json:
        typer.echo(json.dumps({"certificates": found}, indent=2))
        return
    head = ("NAME", "ID", "TYPE", "OWNER", "STATE", "ENDS", "LISTENERS", "FOR")
    for line in table(head, [_row(each) for each in found]):
        typer.echo(line)


@app.command()
def show(certificate: Reference, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Show a certificate, and where it is used."""
    with _Telling():
        client = NodeClient.of(config, socket)
        answer = client.get(f"{_PATH}/{_id_of(client, certificate)}")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for line in _lines(answer):
        typer.echo(line)


@app.command()
def where(
    certificate: Reference, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False
) -> None:
    """List the listeners that use a certificate, in every region."""
    with _Telling():
        client = NodeClient.of(config, socket)
        answer = client.get(f"{_PATH}/{_id_of(client, certificate)}/where")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for line in _use_lines(answer["uses"]):
        typer.echo(line)


@app.command()
def check(
    certificate: ChainFile,
    key: KeyFile = None,
    ca: IsCa = False,
    passphrase_file: PassphraseFile = None,
    reorder: Reorder = False,
    replaces: Annotated[str | None, typer.Option(metavar="NAME|ID", help="As a replacement of this one.")] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a certificate and its key. Nothing is stored.

    Exit status 1 if it could not be stored.
    """
    body: dict[str, Any] = {"type": "ca" if ca else "server"}
    with _Telling() as telling:
        client = NodeClient.of(config, socket)
        if replaces is not None:
            body["replaces"] = _id_of(client, replaces)
        body |= _material(certificate, key, passphrase_file, reorder=reorder)
        answer = client.post(f"{_PATH}/check", body)
        if _lacks_passphrase(answer, body) and telling.ask(body):
            answer = client.post(f"{_PATH}/check", body)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print_findings(answer)
    if not answer["ok"]:
        raise typer.Exit(1)


@app.command()
def replace(
    certificate: Reference,
    chain: ChainFile,
    key: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    reorder: Reorder = False,
    force: Force = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Put another certificate in its place, on every listener that uses it; no connection is lost.

    The swap is rehearsed before; exit status 1 if it would break clients that are served today.
    """
    with _Telling() as telling:
        client = NodeClient.of(config, socket, _PATIENCE_S)
        known = _known(client, certificate)
        body = _material(chain, key, passphrase_file, reorder=reorder, force=force)
        path = _path(f"/{known['id']}/replace", dry_run)
        _print_written(_send(client, "POST", path, body, telling, known), "replaced", as_json)


@app.command()
def rollback(
    certificate: Reference,
    force: Force = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Take the previous generation into service again; another rollback undoes it."""
    with _Telling() as telling:
        client = NodeClient.of(config, socket, _PATIENCE_S)
        known = _known(client, certificate)
        path = _path(f"/{known['id']}/rollback", dry_run)
        _print_written(_send(client, "POST", path, {"force": force}, telling, known), "rolled back", as_json)


@app.command()
def rename(
    certificate: Reference,
    name: Annotated[str, typer.Argument(help="The new name.")],
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Give it another name; listeners made through the API follow."""
    with _Telling() as telling:
        client = NodeClient.of(config, socket, _PATIENCE_S)
        known = _known(client, certificate)
        answer = _send(client, "PATCH", _path(f"/{known['id']}", dry_run), {"name": name}, telling, known)
        _print_written(answer, "renamed", as_json)


@app.command()
def delete(
    certificate: Reference, dry_run: DryRun = False, config: ConfigFile = None, socket: SocketFile = None
) -> None:
    """Remove a certificate that no listener uses, and its key for good."""
    with _Telling() as telling:
        client = NodeClient.of(config, socket, _PATIENCE_S)
        known = _known(client, certificate)
        answer = _send(client, "DELETE", _path(f"/{known['id']}", dry_run), None, telling, known)
    _print_plan(answer) if answer is not None else typer.echo(f"{known['name']} removed")


# --- asking the node ---


class _Telling:
    """Ends the command when the node refuses; asks for a passphrase where there is somebody to ask."""

    def __enter__(self) -> _Telling:
        return self

    def __exit__(self, kind: object, fault: object, _: object) -> None:
        if isinstance(fault, NodeFault):
            fault.leave()

    def ask(self, body: dict[str, Any]) -> bool:
        if not sys.stdin.isatty():
            return False
        body["passphrase"] = getpass.getpass("Passphrase of the private key: ")
        return True


def _send(
    client: NodeClient, method: str, path: str, body: Any, telling: _Telling, known: dict[str, Any] | None = None
) -> Any:
    headers = {"If-Match": f'"{known["version"]}"'} if known is not None else {}
    try:
        return client.ask(method, path, body, headers)
    except NodeFault as fault:
        if fault.code != "key_encrypted" or not telling.ask(body):
            raise
    return client.ask(method, path, body, headers)


def _lacks_passphrase(answer: dict[str, Any], body: dict[str, Any]) -> bool:
    return "passphrase" not in body and any(each["code"] == "key_encrypted" for each in answer["errors"])


def _path(more: str, dry_run: bool) -> str:
    return f"{_PATH}{more}{'?dry_run=true' if dry_run else ''}"


def _known(client: NodeClient, reference: str) -> dict[str, Any]:
    """What the node says of it now: a write is made on that."""
    found: list[dict[str, Any]] = client.get(f"{_PATH}?name={quote(reference, safe='')}")["certificates"]
    if found:
        return found[0]
    shown: dict[str, Any] = client.get(f"{_PATH}/{quote(reference, safe='')}")
    return shown


def _id_of(client: NodeClient, reference: str) -> str:
    return quote(_known(client, reference)["id"], safe="")


def _every(client: NodeClient) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        page = client.get(f"{_PATH}?limit=1000{after}")
        yield from page["certificates"]
        if page["next"] is None:
            return
        after = f"&after={quote(page['next'], safe='')}"


# --- reading files ---


def _material(
    certificate: Path, key: Path | None, passphrase_file: Path | None, *, reorder: bool = False, force: bool = False
) -> dict[str, Any]:
    body: dict[str, Any] = {"certificate": _read(certificate), "reorder": reorder, "force": force}
    if key is not None:
        body["private_key"] = _read(key)
    if passphrase_file is not None:
        body["passphrase"] = _read(passphrase_file).splitlines()[0] if _read(passphrase_file) else ""
    return body


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise NodeFault(f"{path}: {error.strerror}", [], 1) from error
    if len(data) > _LARGEST_FILE:
        raise NodeFault(f"{path}: larger than any certificate", [], 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        _refuse_binary(path, data)


def _refuse_binary(path: Path, data: bytes) -> NoReturn:
    from clb.certificates.formats import fault_for_no_pem

    fault = fault_for_no_pem(data)
    raise NodeFault(f"{path}: {fault.message}; {fault.fix.replace('FILE', str(path))} ({fault.code})", [], 1)


# --- printing ---


def _print_written(answer: dict[str, Any], done: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if answer.get("dry_run"):
        _print_plan(answer)
        return
    for finding in answer["warnings"]:
        typer.echo(f"warning: {_finding(finding)}", err=True)
    for line in answer["broken"]:
        typer.echo(f"warning: not served any more: {line}", err=True)
    told = answer["certificate"]
    typer.echo(f"{told['name']} ({told['id']}) {done}: generation {told['generation']}, {_ends(told)}")
    for line in _use_lines(answer["swapped"]) if answer["swapped"] else ():
        typer.echo(line)


def _print_plan(answer: dict[str, Any]) -> None:
    for each in answer["changes"]:
        typer.echo(f"{each['kind']:<19} {each['where']}: {each['what']}")
    typer.echo("nothing was changed")


def _print_findings(answer: dict[str, Any]) -> None:
    for finding in answer["errors"]:
        typer.echo(_finding(finding), err=True)
    for finding in answer["warnings"]:
        typer.echo(f"warning: {_finding(finding)}", err=True)
    if answer["ok"]:
        typer.echo(f"sound: {answer['key']} for {', '.join(answer['names']) or answer['subject']}, {_ends(answer)}")


def _finding(finding: dict[str, Any]) -> str:
    return f"{finding['field']}: {finding['message']}; {finding['fix']} ({finding['code']})"


def _ends(told: dict[str, Any]) -> str:
    return f"{told['state']}, until {told['not_after'][:10]}"


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    names = each["names"]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    state = "quarantined" if each["quarantined"] else each["state"] or "not loaded"
    ends = f"{each['not_after'][:10]} ({each['days_left']} days)" if each["not_after"] else "-"
    return (each["name"], each["id"], each["type"], each["owner"], state, ends, str(each["used_by"]), shown or "-")


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield f"{answer['name']} ({answer['id']}), type {answer['type']}, owned by the {_OWNERS[answer['owner']]}"
    if answer["quarantined"]:
        yield f"  QUARANTINED: {answer['quarantined']}"
    for word in ("state", "subject", "issuer", "key", "fingerprint", "not_before", "not_after"):
        if answer[word] is not None:
            yield f"  {word.replace('_', ' '):<12} {answer[word]}"
    if answer["names"]:
        yield f"  {'for':<12} {', '.join(answer['names'])}"
    yield f"  {'generation':<12} {answer['generation']}"
    if (previous := answer["previous"]) is not None:
        yield f"  {'previous':<12} {previous['fingerprint'][:16]}..., until {previous['not_after'][:10]} (rollback)"
    yield from _use_lines(answer["uses"])


_OWNERS = {"api": "store", "file": "configuration file"}


def _use_lines(uses: list[dict[str, Any]]) -> Iterator[str]:
    if not uses:
        yield "  used by nobody"
    for use in uses:
        what = "checks clients of" if use["purpose"] == "ca_certificate" else "shown by"
        region = f", region {', '.join(use['region'])}" if use["region"] else ""
        elsewhere = "" if use["served_here"] else " (not here)"
        yield f"  {what} {use['load_balancer']}/{use['listener']} ({use['owner']}{region}){elsewhere}"
