"""`clb listener`: listeners of the node.

Owns:      the words and the form of what is printed.
Elsewhere: finding, documents and writes (object_client.py).
"""

from __future__ import annotations

from typing import Annotated

import typer

from clb.cli.node_client import AsJson, ConfigFile, NodeClient, SocketFile
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
    find_listener,
    print_list,
    print_object,
    print_written,
    write,
)

_PATH = "/v1/listeners"

app = typer.Typer(help="Listeners of the running node.", no_args_is_help=True, add_completion=False)

Reference = Annotated[str, typer.Argument(metavar="LB/NAME|ID", help="The listener: shop/https, or its id.")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="By default 443.")]
Protocol = Annotated[str | None, typer.Option("--protocol", help="https (default) or http.")]
Address = Annotated[str | None, typer.Option("--address", help="By default 0.0.0.0.")]
Certificate = Annotated[str | None, typer.Option("--certificate", metavar="NAME|ID", help="That it shows.")]
Authority = Annotated[str | None, typer.Option("--ca-certificate", metavar="NAME|ID", help="That clients need.")]


@app.command("list")
def list_listeners(
    load_balancer: Annotated[str | None, typer.Option("--load-balancer", metavar="NAME|ID", help="Only its.")] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """List listeners of the store and of the configuration file."""
    with Telling():
        client = NodeClient.of(config, socket)
        above = find_balancer(client, load_balancer)["id"] if load_balancer is not None else None
        found = list(every(client, "listeners", load_balancer=above))
    rows = [
        (
            f"{each['load_balancer']['name']}/{each['name']}",
            each["id"],
            each["owner"],
            each["protocol"],
            f"{each['address']}:{each['port']}",
            str(each["rules"]),
            each["not_served_because"] or "served",
        )
        for each in found
    ]
    head = ("NAME", "ID", "OWNER", "PROTOCOL", "SOCKET", "RULES", "STATE")
    print_list("listeners", found, head, rows, as_json=as_json)


@app.command()
def show(listener: Reference, config: ConfigFile = None, socket: SocketFile = None, as_json: AsJson = False) -> None:
    """Show a listener."""
    with Telling():
        told = find_listener(NodeClient.of(config, socket), listener)
    facts = {"socket": f"{told['address']}:{told['port']}", "rules": told["rules"]}
    print_object(told, f"{told['load_balancer']['name']}/{told['name']}", facts, as_json=as_json)


@app.command()
def create(
    load_balancer: Annotated[str, typer.Argument(metavar="LB", help="Its load balancer, by name or id.")],
    name: Annotated[str | None, typer.Option("--name", help="By default protocol and port: https-443.")] = None,
    port: Port = None,
    protocol: Protocol = None,
    address: Address = None,
    certificate: Certificate = None,
    ca_certificate: Authority = None,
    file: DocumentFile = None,
    sets: SetKeys = [],  # noqa: B006 - Typer copies it
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a listener; with --file also its rules and targets, all in one write."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        above = find_balancer(client, load_balancer)
        document = document_of(
            file,
            sets,
            name=name,
            port=port,
            protocol=protocol,
            address=address,
            certificate=certificate,
            ca_certificate=ca_certificate,
            ssl_mode="mutual" if ca_certificate is not None else None,
        )
        path = f"/v1/load-balancers/{above['id']}/listeners"
        answer = write(client, "POST", path, document, None, dry_run=dry_run)
    print_written(answer, f"{above['name']}/{answer.get('name')} ({answer.get('id')}) created", as_json=as_json)


@app.command("set")
def change(
    listener: Reference,
    port: Port = None,
    address: Address = None,
    certificate: Certificate = None,
    file: DocumentFile = None,
    sets: SetKeys = [],  # noqa: B006
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Change keys of a listener; what is not named stays."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_listener(client, listener)
        patch = document_of(file, sets, port=port, address=address, certificate=certificate)
        answer = write(client, "PATCH", f"{_PATH}/{known['id']}", patch, known, dry_run=dry_run)
    print_written(answer, f"{known['load_balancer']['name']}/{known['name']} changed", as_json=as_json)


@app.command()
def delete(
    listener: Reference,
    cascade: Cascade = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
) -> None:
    """Remove a listener; its connections end within node.drain_timeout."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_listener(client, listener)
        path = f"{_PATH}/{known['id']}{'?cascade=true' if cascade else ''}"
        answer = write(client, "DELETE", path, None, known, dry_run=dry_run)
    print_written(answer, f"{known['load_balancer']['name']}/{known['name']} removed", as_json=False)
