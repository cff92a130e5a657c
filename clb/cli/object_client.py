"""What the commands on load balancers, listeners, rules and targets have in common.

Owns:      finding an object by the words that people use, documents from files and options, writes and their plans.
Elsewhere: each kind's own words (lb.py, listener.py, rule.py, target.py); the routes (control/).

A write is made on what was read: its If-Match is that version, so what somebody else changed in between is not lost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from clb.cli.node_client import EXIT_NO_NODE, NodeClient, NodeFault
from clb.cli.table import table

PATIENCE_S: Final = 60.0
_LARGEST_FILE: Final = 1 << 20
_PAGE: Final = 1000

DocumentFile = Annotated[
    str | None,
    typer.Option("--file", "-f", metavar="FILE", help="YAML or JSON with keys as in a configuration file; - reads it."),
]
SetKeys = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="One key, such as timeouts.keepalive=30s; KEY= removes it."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would change.")]
Cascade = Annotated[bool, typer.Option("--cascade", help="Remove everything below it too.")]
Listed = list[dict[str, Any]]


class Telling:
    """Ends the command when the node refuses."""

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, kind: object, fault: object, _: object) -> None:
        if isinstance(fault, NodeFault):
            fault.leave()


# --- finding ---


def every(client: NodeClient, collection: str, **filters: str | None) -> Iterator[dict[str, Any]]:
    """All objects of a collection, page by page."""
    wanted = {name: value for name, value in filters.items() if value is not None}
    after: str | None = None
    while True:
        query = urlencode({**wanted, "limit": _PAGE, **({"after": after} if after is not None else {})})
        page = client.get(f"/v1/{collection}?{query}")
        yield from page[collection.replace("-", "_")]
        after = page["next"]
        if after is None:
            return


def find_balancer(client: NodeClient, reference: str) -> dict[str, Any]:
    """A load balancer by name or id."""
    found = list(every(client, "load-balancers", name=reference))
    return found[0] if found else _by_id(client, "load-balancers", reference)


def find_listener(client: NodeClient, reference: str) -> dict[str, Any]:
    """A listener by `LOAD_BALANCER/NAME` or id."""
    balancer, slash, name = reference.partition("/")
    if not slash:
        return _by_id(client, "listeners", reference)
    above = find_balancer(client, balancer)
    found = list(every(client, "listeners", load_balancer=above["id"], name=name))
    if not found:
        raise NodeFault(f"load balancer {balancer} has no listener {name}; clb listener list shows them", [], 1)
    return found[0]


def find_rule(client: NodeClient, reference: str) -> dict[str, Any]:
    """A rule by `LOAD_BALANCER/LISTENER/DOMAIN/PATH`, `LOAD_BALANCER/LISTENER/DOMAIN URL` or id."""
    words = reference.split("/", 2)
    if len(words) < 3:
        return _by_id(client, "rules", reference)
    listener = find_listener(client, "/".join(words[:2]))
    domain, space, url = words[2].partition(" ")
    if not space:
        domain, slash, rest = words[2].partition("/")
        url = slash + rest or "/"
    for rule in every(client, "rules", listener=listener["id"], domain=domain):
        if rule["url"] == url:
            return rule
    message = f"listener {'/'.join(words[:2])} has no rule for {domain} {url}; clb rule list shows them"
    raise NodeFault(message, [], 1)


def find_target(client: NodeClient, reference: str, rule: str | None) -> dict[str, Any]:
    """A target by id, or by `ADDRESS:PORT` among those of a rule; without one, if no other rule has it."""
    if ":" not in reference:
        return _by_id(client, "targets", reference)
    address, port = address_and_port(reference)
    above = find_rule(client, rule)["id"] if rule is not None else None
    found = [each for each in every(client, "targets", rule=above, address=address) if each["port"] == port]
    if not found:
        raise NodeFault(f"no target {reference}; clb target list shows them", [], 1)
    if len(found) > 1:
        places = [f"--rule '{rule_words(each)}'" for each in found]
        raise NodeFault(f"{len(found)} rules have a target {reference}; say which", places, 1)
    return found[0]


def rule_words(target: Mapping[str, Any]) -> str:
    """A target's rule as `find_rule` takes it."""
    return f"{target['load_balancer']['name']}/{target['listener']['name']}/{target['rule']['name']}"


def _by_id(client: NodeClient, collection: str, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/{collection}/{quote(reference, safe='')}")
    return found


def address_and_port(text: str) -> tuple[str, int]:
    """`10.0.0.5:8080` or `[fd00::5]:8080`.

    Raises:
        NodeFault: it is neither.
    """
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise NodeFault(f"{text}: write ADDRESS:PORT, such as 10.0.0.5:8080 or [fd00::5]:8080", [], EXIT_NO_NODE)
    return address.removeprefix("[").removesuffix("]"), int(port)


def target_document(text: str) -> dict[str, Any]:
    """`10.0.0.5:8080` or, with a weight, `10.0.0.5:8080=20`."""
    place, equals, weight = text.partition("=")
    address, port = address_and_port(place)
    document: dict[str, Any] = {"address": address, "port": port}
    if equals:
        if not weight.isdigit():
            raise NodeFault(f"{text}: write ADDRESS:PORT=WEIGHT, with a weight from 0 to 100", [], EXIT_NO_NODE)
        document["weight"] = int(weight)
    return document


# --- documents ---


def document_of(file: str | None, sets: Sequence[str], **options: Any) -> dict[str, Any]:
    """What is sent: the file's keys, those of options over them, and `--set` over both; null removes a key.

    Raises:
        NodeFault: the file or an option is not well formed; files are named by line and column.
    """
    document = _read(file) if file is not None else {}
    document |= {name: value for name, value in options.items() if value not in (None, [], ())}
    for each in sets:
        path, equals, text = each.partition("=")
        if not equals or not all(path.split(".")):
            raise NodeFault(f"--set {each}: write KEY=VALUE, such as timeouts.keepalive=30s", [], EXIT_NO_NODE)
        _put(document, path.split("."), _value(each, text), each)
    return document


def _put(document: dict[str, Any], path: list[str], value: Any, told: str) -> None:
    for step in path[:-1]:
        document = document.setdefault(step, {})
        if not isinstance(document, dict):
            raise NodeFault(f"--set {told}: {step} is no mapping", [], EXIT_NO_NODE)
    document[path[-1]] = value


def _value(told: str, text: str) -> Any:
    from clb.config.document import DocumentError, parse

    if not text.strip():
        return None
    try:
        root, slips = parse(f"value: {text}\n".encode("utf-8", "replace"))
    except DocumentError as error:
        raise NodeFault(f"--set {told}: {error.message}", [], EXIT_NO_NODE) from error
    if slips or not isinstance(root.value, dict):
        raise NodeFault(f"--set {told}: not one value", [], EXIT_NO_NODE)
    return root.value.get("value")


def _read(file: str) -> dict[str, Any]:
    from clb.config.document import DocumentError, parse

    name = "standard input" if file == "-" else file
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_LARGEST_FILE + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise NodeFault(f"{name}: {error.strerror}", [], EXIT_NO_NODE) from error
    if len(data) > _LARGEST_FILE:
        raise NodeFault(f"{name}: larger than one request may be", [], EXIT_NO_NODE)
    try:
        root, slips = parse(data)
    except DocumentError as error:
        raise NodeFault(f"{name}:{error.place[0]}:{error.place[1]}: {error.message}", [], EXIT_NO_NODE) from error
    if slips:
        lines = [f"{name}:{slip.place[0]}:{slip.place[1]}: {slip.message}" for slip in slips]
        raise NodeFault(f"{name}: not well formed", lines, EXIT_NO_NODE)
    if not isinstance(root.value, dict):
        raise NodeFault(f"{name}:1:1: write keys and values, as in a configuration file", [], EXIT_NO_NODE)
    return root.value


# --- writing and printing ---


def write(
    client: NodeClient, method: str, path: str, body: Any, known: Mapping[str, Any] | None, *, dry_run: bool
) -> Any:
    """Ask for a change of what was read, or only for its plan."""
    headers = {"If-Match": f'"{known["version"]}"'} if known is not None else {}
    query = "&" if "?" in path else "?"
    return client.ask(method, f"{path}{query}dry_run=true" if dry_run else path, body, headers)


def print_written(answer: Any, line: str, *, as_json: bool) -> None:
    """Say what became of a write: the plan of a dry run, or a line, with warnings beside it."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if isinstance(answer, dict) and answer.get("dry_run"):
        for each in answer["changes"]:
            typer.echo(f"{each['kind']:<19} {each['where']}: {each['what']}")
        typer.echo("nothing was changed")
        return
    for each in answer.get("warnings", ()) if isinstance(answer, dict) else ():
        typer.echo(f"warning: {each['key']}: {each['message']}", err=True)
    typer.echo(line)


def print_list(name: str, found: Listed, head: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """A list as JSON or as a table."""
    if as_json:
        typer.echo(json.dumps({name: found}, indent=2))
        return
    for line in table(head, rows):
        typer.echo(line)


def print_object(told: Mapping[str, Any], title: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """One object: what it is, and the keys that were set."""
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    owner = "the configuration file" if told["owner"] == "file" else "the store"
    typer.echo(f"{title} ({told['id']}), owned by {owner}, version {told['version']}")
    for name, value in facts.items():
        typer.echo(f"  {name:<12} {value}")
    import yaml

    document = yaml.safe_dump(told["document"], sort_keys=False, allow_unicode=False, width=100)
    for line in document.rstrip("\n").split("\n"):
        typer.echo(f"    {line}")
