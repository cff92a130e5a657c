"""`clb rule`: rules of the node's listeners.

Owns:      the words and the form of what is printed.
Elsewhere: finding, documents and writes (object_client.py).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clb.cli.node_client import AsJson, ConfigFile, NodeClient, SocketFile
from clb.cli.object_client import (
    PATIENCE_S,
    DocumentFile,
    DryRun,
    SetKeys,
    Telling,
    document_of,
    every,
    find_listener,
    find_rule,
    print_list,
    print_object,
    print_written,
    target_document,
    write,
)

_PATH = "/v1/rules"

app = typer.Typer(help="Rules of the running node.", no_args_is_help=True, add_completion=False)

Reference = Annotated[
    str,
    typer.Argument(
        metavar="RULE", help="Its id, shop/https/shop.example.com/api/, or 'shop/https/shop.example.com =/x'."
    ),
]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="wrr (default), least_conn, p2c_ewma, ip_hash, ...")]


@app.command("list")
def list_rules(
    listener: Annotated[str | None, typer.Option("--listener", metavar="LB/NAME|ID", help="Only its.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="Only those of this domain.")] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """List rules of the store and of the configuration file."""
    with Telling():
        client = NodeClient.of(config, socket)
        above = find_listener(client, listener)["id"] if listener is not None else None
        found = list(every(client, "rules", listener=above, domain=domain))
    rows = [
        (
            f"{each['load_balancer']['name']}/{each['listener']['name']}",
            each["domain"],
            each["url"],
            "default" if each["default"] else "",
            str(each["targets"]),
            each["owner"],
            each["id"],
        )
        for each in found
    ]
    print_list("rules", found, ("LISTENER", "DOMAIN", "URL", "", "TARGETS", "OWNER", "ID"), rows, as_json=as_json)


@app.command()
def show(rule: Reference, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Show a rule."""
    with Telling():
        told = find_rule(NodeClient.of(config, socket), rule)
    print_object(told, _name(told), {"targets": told["targets"]}, as_json=as_json)


@app.command()
def create(
    listener: Annotated[str, typer.Argument(metavar="LISTENER", help="Its listener: shop/https, or an id.")],
    domain: Annotated[str | None, typer.Option("--domain", help="Such as shop.example.com, *.example.com.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Such as /api/, =/exact, ~regex; by default /.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Requests for other domains go here.")] = False,
    scheduler: Scheduler = None,
    target: Annotated[
        list[str], typer.Option("--target", metavar="ADDRESS:PORT[=WEIGHT]", help="A real server; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
    file: DocumentFile = None,
    sets: SetKeys = [],  # noqa: B006
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a rule with its targets. The first rule of a listener is the --default one."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        above = find_listener(client, listener)
        document = document_of(
            file,
            sets,
            domain=domain,
            url=url,
            default=default or None,
            scheduler=scheduler,
            targets=[target_document(each) for each in target],
        )
        answer = write(client, "POST", f"/v1/listeners/{above['id']}/rules", document, None, dry_run=dry_run)
    line = f"{_name(answer)} ({answer['id']}) created" if "id" in answer else ""
    print_written(answer, line, as_json=as_json)


@app.command("set")
def change(
    rule: Reference,
    scheduler: Scheduler = None,
    file: DocumentFile = None,
    sets: SetKeys = [],  # noqa: B006
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Change keys of a rule; what is not named stays."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_rule(client, rule)
        patch = document_of(file, sets, scheduler=scheduler)
        answer = write(client, "PATCH", f"{_PATH}/{known['id']}", patch, known, dry_run=dry_run)
    print_written(answer, f"{_name(known)} changed", as_json=as_json)


@app.command()
def delete(rule: Reference, dry_run: DryRun = False, config: ConfigFile = None, socket: SocketFile = None) -> None:
    """Remove a rule with its targets; what they work on goes on until node.drain_timeout."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_rule(client, rule)
        answer = write(client, "DELETE", f"{_PATH}/{known['id']}", None, known, dry_run=dry_run)
    print_written(answer, f"{_name(known)} removed", as_json=False)


def _name(rule: dict[str, Any]) -> str:
    return f"{rule['load_balancer']['name']}/{rule['listener']['name']} {rule['domain']}{rule['url']}"
