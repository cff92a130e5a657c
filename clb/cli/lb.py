"""`clb lb`: load balancers of the node.

Owns:      the words and the form of what is printed.
Elsewhere: finding, documents and writes (object_client.py).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clb.cli.node_client import EXIT_NO_NODE, AsJson, ConfigFile, NodeClient, NodeFault, SocketFile
from clb.cli.object_client import (
    PATIENCE_S,
    Cascade,
    DocumentFile,
    DryRun,
    SetKeys,
    Telling,
    document_of,
    every,
    find_balancer,
    print_list,
    print_object,
    print_written,
    write,
)

_PATH = "/v1/load-balancers"

app = typer.Typer(help="Load balancers of the running node.", no_args_is_help=True, add_completion=False)

Reference = Annotated[str, typer.Argument(metavar="NAME|ID", help="The load balancer, by name or id.")]
Regions = Annotated[list[str], typer.Option("--region", help="Region that serves it; may be repeated.")]
Labels = Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="Such as tenant=acme; repeatable.")]


@app.command("list")
def list_load_balancers(config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """List load balancers of the store and of the configuration file."""
    with Telling():
        found = list(every(NodeClient.of(config, socket), "load-balancers"))
    rows = [
        (
            each["name"],
            each["id"],
            each["owner"],
            ", ".join(each["region"]) if each["region"] is not None else "-",
            "yes" if each["served_here"] else "no",
            str(each["listeners"]),
        )
        for each in found
    ]
    print_list("load_balancers", found, ("NAME", "ID", "OWNER", "REGION", "HERE", "LISTENERS"), rows, as_json=as_json)


@app.command()
def show(
    load_balancer: Reference, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False
) -> None:
    """Show a load balancer."""
    with Telling():
        told = find_balancer(NodeClient.of(config, socket), load_balancer)
    print_object(told, told["name"], {"listeners": told["listeners"]}, as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    region: Regions = [],  # noqa: B006 - Typer copies it
    label: Labels = [],  # noqa: B006
    file: DocumentFile = None,
    sets: SetKeys = [],  # noqa: B006
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a load balancer; with --file also its listeners, rules and targets, all in one write."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        document = document_of(file, sets, name=name, region=region, labels=_labels(label))
        answer = write(client, "POST", _PATH, document, None, dry_run=dry_run)
    print_written(answer, f"{name} ({answer.get('id')}) created", as_json=as_json)


@app.command("set")
def change(
    load_balancer: Reference,
    region: Regions = [],  # noqa: B006
    label: Labels = [],  # noqa: B006
    file: DocumentFile = None,
    sets: SetKeys = [],  # noqa: B006
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Change keys of a load balancer; what is not named stays."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_balancer(client, load_balancer)
        patch = document_of(file, sets, region=region, labels=_labels(label))
        answer = write(client, "PATCH", f"{_PATH}/{known['id']}", patch, known, dry_run=dry_run)
    print_written(answer, f"{known['name']} changed", as_json=as_json)


@app.command()
def delete(
    load_balancer: Reference,
    cascade: Cascade = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
) -> None:
    """Remove a load balancer; what runs on it ends within node.drain_timeout."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_balancer(client, load_balancer)
        path = f"{_PATH}/{known['id']}{'?cascade=true' if cascade else ''}"
        answer = write(client, "DELETE", path, None, known, dry_run=dry_run)
    print_written(answer, f"{known['name']} removed", as_json=False)


def _labels(given: list[str]) -> dict[str, Any]:
    labels = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise NodeFault(f"--label {each}: write KEY=VALUE, such as tenant=acme", [], EXIT_NO_NODE)
        labels[name] = value
    return labels or {}
