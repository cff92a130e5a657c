"""`clb explain URL`: which listener, certificate, rule and real server a request would get, and why.

Owns:      the form of it.
Elsewhere: the answer (control/explanation.py), which comes from the running node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from clb.cli.node_client import EXIT_NO_NODE, AsJson, ConfigFile, NodeClient, NodeFault, SocketFile


def explain(
    url: Annotated[str, typer.Argument(help="Whole, such as https://shop.example.com/path.", show_default=False)],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header; may be repeated.")
    ] = None,
    client: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The client's address.")] = "127.0.0.1",
    method: Annotated[str, typer.Option("--method", "-X", metavar="METHOD")] = "GET",
    listener: Annotated[
        str | None, typer.Option("--listener", metavar="NAME", help="`balancer/listener`, whatever the URL's port is.")
    ] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what would become of a request, and why; none is sent.

    Exit status 0 when there is an answer, also if the request would be refused; 1 for a URL that this node does not
    serve; 2 when no node answers.
    """
    question: dict[str, Any] = {"url": url, "client": client, "method": method, "listener": listener}
    try:
        question["headers"] = [_pair(text) for text in header or ()]
        answer = NodeClient.of(config, socket).post("/v1/explain", question)
    except NodeFault as fault:
        fault.leave()
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for line in lines(answer):
        typer.echo(line)


def _pair(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise NodeFault(f'--header {text!r}: write "Name: value"', [], EXIT_NO_NODE)
    return [name, value.strip()]


def lines(answer: dict[str, Any]) -> Iterator[str]:
    """The steps, each with its reason, and the outcome last."""
    yield from _listener_lines(answer["listener"])
    if answer["certificate"] is not None:
        yield from _certificate_lines(answer["certificate"])
    if answer["tls"] is not None:
        tls = answer["tls"]
        yield f"tls         policy {tls['policy']}, {tls['versions']}; client certificate {tls['client_certificate']}"
    if answer["route"] is not None:
        yield from _route_lines(answer["route"])
    if answer["redirect"] is not None:
        redirect = answer["redirect"]
        yield f"redirect    {redirect['status']} to {redirect['location']}: {redirect['why']}"
    if answer["candidates"]:
        yield "candidates"
        yield from map(_candidate_line, answer["candidates"])
    if answer["choice"] is not None:
        choice = answer["choice"]
        yield f"choice      {choice['scheduler']}: {choice['target'] or 'not certain'}; {choice['how']}"
        if len(choice["order"]) > 1:
            yield f"            {', '.join(choice['order'][:10])}"
    yield from _limit_lines(answer["limits"])
    yield f"outcome     {answer['verdict']['text']}"


def _listener_lines(listener: dict[str, Any]) -> Iterator[str]:
    name = f"{listener['load_balancer']}/{listener['listener']}"
    yield f"listener    {name} at {listener['address']}:{listener['port']}: {listener['why']}"
    if listener["others"]:
        yield f"            others would do: {', '.join(listener['others'])}"


def _certificate_lines(certificate: dict[str, Any]) -> Iterator[str]:
    yield f"certificate {' or '.join(certificate['certificates'])}: {certificate['why']}"
    if not certificate["covers_host"]:
        yield f"            a browser will warn: it is for {', '.join(certificate['names'][:6])}"


def _route_lines(route: dict[str, Any]) -> Iterator[str]:
    rule = f"{route['domain']} {route['url']}" if route["domain"] is not None else "none"
    yield f"rule        {rule} (host {route['host'] or 'none'}, path {route['path']})"
    yield f"            {route['why']}"
    for beaten in route["beaten"]:
        yield f"  beat      {beaten['domain']} {beaten['url']}: {beaten['why']}"


def _limit_lines(limits: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each mapping of the configuration."""
    groups: dict[str, list[str]] = {}
    for each in limits:
        group, dot, name = each["name"].partition(".")
        groups.setdefault(group if dot else "others", []).append(f"{name or group} {each['value']}")
    for group, values in groups.items():
        yield f"{group:<11} {', '.join(values)}"


def _candidate_line(candidate: dict[str, Any]) -> str:
    parts = [f"weight {candidate['weight']}"]
    if candidate["share"] is not None:
        parts.append(f"share {candidate['share']:.1%}")
    parts.append(f"{candidate['in_flight']} in flight")
    if candidate["latency_ms"] is not None:
        parts.append(f"{candidate['latency_ms']:.1f} ms")
    if candidate["why"]:
        parts.append(candidate["why"])
    return f"  {candidate['target']:<22} {candidate['state']:<11} {', '.join(parts)}"
