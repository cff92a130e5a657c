"""`clb target`: real servers of the node's rules.

Owns:      the words, waiting for a drain, and the form of what is printed.
Elsewhere: finding, documents and writes (object_client.py).
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from clb.cli.node_client import AsJson, ConfigFile, NodeClient, NodeFault, SocketFile
from clb.cli.object_client import (
    PATIENCE_S,
    DryRun,
    SetKeys,
    Telling,
    document_of,
    every,
    find_rule,
    find_target,
    print_list,
    print_object,
    print_written,
    rule_words,
    target_document,
    write,
)

_PATH = "/v1/targets"
_LOOK_S = 0.2

app = typer.Typer(help="Real servers of the running node.", no_args_is_help=True, add_completion=False)

Reference = Annotated[str, typer.Argument(metavar="ADDRESS:PORT|ID", help="The target, by address or id.")]
OfRule = Annotated[
    str | None, typer.Option("--rule", metavar="RULE", help="The rule that it is of, as clb rule show takes it.")
]
InRule = Annotated[str, typer.Argument(metavar="RULE", help="Its id, or shop/https/shop.example.com/api/.")]
Places = Annotated[list[str], typer.Argument(metavar="ADDRESS:PORT[=WEIGHT]...", help="Real servers.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when it works on nothing any more.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, max=86400, help="With --wait: seconds at most.")]


@app.command("list")
def list_targets(
    rule: OfRule = None,
    health: Annotated[str | None, typer.Option("--health", help="Only those in this state: unhealthy, ...")] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """List targets of the store and of the configuration file, and how they are."""
    with Telling():
        client = NodeClient.of(config, socket)
        above = find_rule(client, rule)["id"] if rule is not None else None
        found = list(every(client, "targets", rule=above, health=health))
    rows = [
        (
            rule_words(each),
            _place(each),
            str(each["weight"]),
            "draining" if each["draining"] else each["health"],
            str(each["requests_in_flight"]),
            each["owner"] + (" (overridden)" if each["overridden"] else ""),
            each["id"],
        )
        for each in found
    ]
    head = ("RULE", "TARGET", "WEIGHT", "STATE", "RUNNING", "OWNER", "ID")
    print_list("targets", found, head, rows, as_json=as_json)


@app.command()
def show(
    target: Reference,
    rule: OfRule = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a target."""
    with Telling():
        told = find_target(NodeClient.of(config, socket), target, rule)
    facts = {
        "rule": rule_words(told),
        "weight": f"{told['weight']}{' (draining)' if told['draining'] else ''}",
        "health": told["health"],
        "running": told["requests_in_flight"],
    }
    print_object(told, _place(told), facts, as_json=as_json)


@app.command()
def register(
    rule: InRule,
    targets: Places,
    only: Annotated[bool, typer.Option("--only", help="Have these, and remove all others of the rule.")] = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Add real servers to a rule, and give those that it has these weights; one that drains works again."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_rule(client, rule)
        body = {"targets": [target_document(each) for each in targets]}
        method, more = ("PUT", "") if only else ("POST", "/register")
        answer = write(client, method, f"/v1/rules/{known['id']}/targets{more}", body, known, dry_run=dry_run)
    print_written(answer, _counted(answer), as_json=as_json)


@app.command()
def deregister(
    rule: InRule,
    targets: Places,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove real servers of a rule: no new work at once, and what they work on goes on."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_rule(client, rule)
        body = {"targets": [_named(each) for each in targets]}
        path = f"/v1/rules/{known['id']}/targets/deregister"
        answer = write(client, "POST", path, body, known, dry_run=dry_run)
    print_written(answer, _counted(answer), as_json=as_json)


@app.command()
def weight(
    target: Reference,
    weight: Annotated[int, typer.Argument(min=-1, max=100, help="0 to 100; -1 goes back to the file's own.")],
    rule: OfRule = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a target another weight; of one that the configuration file owns until the file has another one."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_target(client, target, rule)
        body = {"weight": None if weight < 0 else weight}
        answer = write(client, "PATCH", f"{_PATH}/{known['id']}", body, known, dry_run=dry_run)
    print_written(answer, f"{_place(known)} weighs {answer.get('weight')}", as_json=as_json)


@app.command("set")
def change(
    target: Reference,
    sets: SetKeys,
    rule: OfRule = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Change keys of a target; what is not named stays."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_target(client, target, rule)
        answer = write(client, "PATCH", f"{_PATH}/{known['id']}", document_of(None, sets), known, dry_run=dry_run)
    print_written(answer, f"{_place(known)} changed", as_json=as_json)


@app.command()
def drain(
    target: Reference,
    rule: OfRule = None,
    wait: Wait = False,
    timeout: Timeout = 300.0,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a target no new work; what it works on goes on. Exit status 1 if --wait runs out of time."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_target(client, target, rule)
        answer = write(client, "POST", f"{_PATH}/{known['id']}/drain", None, known, dry_run=dry_run)
        if wait and not dry_run:
            answer = _idle(client, known["id"], timeout)
    left = answer.get("requests_in_flight")
    print_written(answer, f"{_place(known)} drains: it works on {left} requests", as_json=as_json)


@app.command()
def undrain(
    target: Reference,
    rule: OfRule = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a target work again, with the weight that it had."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_target(client, target, rule)
        answer = write(client, "POST", f"{_PATH}/{known['id']}/undrain", None, known, dry_run=dry_run)
    print_written(answer, f"{_place(known)} works again, weight {answer.get('weight')}", as_json=as_json)


@app.command()
def delete(
    target: Reference,
    rule: OfRule = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
) -> None:
    """Remove a target: no new work at once, and what it works on goes on until node.drain_timeout."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        known = find_target(client, target, rule)
        answer = write(client, "DELETE", f"{_PATH}/{known['id']}", None, known, dry_run=dry_run)
    print_written(answer, f"{_place(known)} removed", as_json=False)


def _idle(client: NodeClient, target: str, timeout_s: float) -> dict[str, Any]:
    until = time.monotonic() + timeout_s
    while True:
        told: dict[str, Any] = client.get(f"{_PATH}/{target}")
        if not told["requests_in_flight"]:
            return told
        if time.monotonic() > until:
            message = f"{_place(told)} still works on {told['requests_in_flight']} requests; it goes on draining"
            raise NodeFault(message, [], 1)
        time.sleep(_LOOK_S)


def _named(text: str) -> dict[str, Any]:
    document = target_document(text)
    document.pop("weight", None)
    return document


def _place(target: dict[str, Any]) -> str:
    address = target["address"]
    return f"[{address}]:{target['port']}" if ":" in address else f"{address}:{target['port']}"


def _counted(answer: dict[str, Any]) -> str:
    if answer.get("dry_run"):
        return ""
    parts = [
        f"{len(answer[word])} {word}: {', '.join(each['name'] for each in answer[word])}"
        for word in ("registered", "changed", "deregistered")
        if answer[word]
    ]
    return "; ".join(parts) or "nothing had to be changed"
