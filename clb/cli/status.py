"""`clb status`: what the node on this machine serves, and how it is doing.

Owns:      the form of it.
Elsewhere: the numbers (control/status.py); `clb top` shows the same while it changes (top.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from clb.cli.amounts import ago, moment, number, size, span
from clb.cli.node_client import AsJson, ConfigFile, NodeClient, NodeFault, SocketFile

_MOST_RULES = 50
_COLOURS = {"healthy": "green", "unhealthy": "red", "ejected": "red", "checking": "yellow", "provisional": "yellow"}
_SOON_S = 14 * 86400


def status(
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
    show_all: Annotated[bool, typer.Option("--all", help="Every rule, however many there are.")] = False,
) -> None:
    """Show listeners, rules and targets with their health, connections, rates, and what drains.

    Exit status 2 when no node answers.
    """
    try:
        answer = NodeClient.of(config, socket).get("/v1/status")
    except NodeFault as fault:
        fault.leave()
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for line in lines(answer, datetime.now(UTC), most_rules=1_000_000 if show_all else _MOST_RULES):
        typer.echo(line)


def lines(answer: dict[str, Any], now: datetime, most_rules: int = _MOST_RULES) -> Iterator[str]:
    """The whole as text."""
    yield from node_lines(answer, now)
    yield _management_line(answer["management"])
    yield from _process_lines(answer["processes"], now)
    yield from _certificate_lines(answer["certificates"])
    for listener in answer["listeners"]:
        yield from _listener_lines(listener, now, most_rules)
    yield from _draining_lines(answer["draining"], now)


def node_lines(answer: dict[str, Any], now: datetime) -> Iterator[str]:
    """The node in a line or two, and the last reload if it failed."""
    node, rates = answer["node"], answer["rates"]
    state = typer.style("ready", fg="green") if node["ready"] else typer.style("NOT READY", fg="red")
    workers = f"{node['workers_ready']} of {node['workers_wanted']} workers"
    yield (
        f"node {node['name']} (region {node['region']}, clb {node['clb_version']}): {state}, {workers}, "
        f"configuration {node['config_version']}"
    )
    for reason in node["not_ready_because"]:
        yield f"  because {reason}"
    yield f"  {_rates(rates)}"
    last = answer["last_reload"]
    if last is not None:
        word = "reloaded" if last["ok"] else typer.style("reload REFUSED", fg="red")
        yield f"  {word} {ago(last['at'], now)} ago: {last['summary']}"
        yield from (f"    {error}" for error in last["errors"])


def _rates(rates: dict[str, float]) -> str:
    return (
        f"{number(rates['requests_per_s'])} requests/s, {number(rates['connections_per_s'])} connections/s, "
        f"in {size(rates['in_bytes_per_s'])}/s, out {size(rates['out_bytes_per_s'])}/s"
    )


def _management_line(management: dict[str, Any]) -> str:
    host = f"[{management['address']}]" if ":" in management["address"] else management["address"]
    tls, tokens = management["tls"], management["tokens"]
    text = f"management {'http' if tls is None else 'https'}://{host}:{management['port']}, "
    text += f"{tokens} token{'' if tokens == 1 else 's'}" if tokens else "no tokens yet (clb token create)"
    return text if tls is None else f"{text}\n  certificate SHA-256 {tls['fingerprint']}, until {tls['not_after'][:10]}"


def _process_lines(processes: list[dict[str, Any]], now: datetime) -> Iterator[str]:
    if processes:
        yield "processes"
    for process in processes:
        name = process["role"] if process["slot"] is None else f"{process['role']} {process['slot']}"
        parts = [f"{name:<12} pid {process['pid']:<8} {process['state']}"]
        if process["since"] is not None:
            parts.append(f"for {ago(process['since'], now)}")
        if process["restarts"]:
            parts.append(f"{process['restarts']} restarts")
        if process["loop_lag_ms"] is not None:
            parts.append(f"lag {process['loop_lag_ms']:.1f} ms")
        if process["connections"] is not None:
            parts.append(f"{process['connections']} connections")
        yield "  " + ", ".join(parts)


def _certificate_lines(certificates: list[dict[str, Any]]) -> Iterator[str]:
    if certificates:
        yield "certificates"
    for each in certificates:
        left = each["seconds_left"]
        text = f"expires in {span(left)}" if left > 0 else "EXPIRED"
        text = typer.style(text, fg="red") if left < _SOON_S else text
        shown = ", ".join(each["names"][:4]) + (f" and {len(each['names']) - 4} more" if len(each["names"]) > 4 else "")
        yield f"  {each['name']}: {each['key_type']} for {shown}, {text} ({moment(each['not_after']):%Y-%m-%d})"


def _listener_lines(listener: dict[str, Any], now: datetime, most_rules: int) -> Iterator[str]:
    host = f"[{listener['address']}]" if ":" in listener["address"] else listener["address"]
    name = f"{listener['load_balancer']}/{listener['listener']}"
    yield f"listener {name} {listener['protocol']} {host}:{listener['port']}"
    queued = f", {listener['queued']} queued" if listener["queued"] else ""
    yield (
        f"  {listener['connections']} connections, {listener['in_flight']} requests in flight{queued}; "
        f"{_rates(listener['rates'])}"
    )
    refused = sorted(listener["refused"].items(), key=lambda item: -item[1])
    if refused:
        yield "  refused: " + ", ".join(f"{reason} {number(count)}" for reason, count in refused[:6])
    for rule in listener["rules"][:most_rules]:
        yield from _rule_lines(rule, now)
    if (more := len(listener["rules"]) - most_rules) > 0:
        yield f"  and {more} more rules (--all)"


def _rule_lines(rule: dict[str, Any], now: datetime) -> Iterator[str]:
    default = " (default)" if rule["default"] else ""
    text = f"  rule {rule['domain']} {rule['url']}{default}: "
    text += f"redirect {rule['redirect']}" if rule["redirect"] else rule["scheduler"]
    if rule["requests"] is not None:
        text += f", {number(rule['requests'])} requests"
    if rule["mean_latency_ms"] is not None:
        text += f", mean {rule['mean_latency_ms']:.1f} ms"
    if rule["all_unavailable"]:
        text += ", " + typer.style("EVERY TARGET IS OUT", fg="red")
    yield text
    for target in rule["targets"]:
        yield _target_line(target, now)


def _target_line(target: dict[str, Any], now: datetime) -> str:
    state = typer.style(f"{target['state']:<11}", fg=_COLOURS.get(target["state"]))
    weight = f"weight {target['weight']}"
    if target["takes_work"] and target["effective_weight"] != target["weight"]:
        weight += f" (now {target['effective_weight']:g})"
    parts = [weight, f"{target['in_flight']} in flight", f"{target['connections']} connections"]
    if target["pending"]:
        parts.append(f"{target['pending']} waiting")
    if target["latency_ms"] is not None:
        parts.append(f"{target['latency_ms']:.1f} ms")
    if target["since"] is not None:
        parts.append(f"for {ago(target['since'], now)}")
    if target["why"]:
        parts.append(target["why"])
    if target["next_probe_at"] is not None:
        parts.append(f"next check in {span((moment(target['next_probe_at']) - now).total_seconds())}")
    return f"    {target['target']:<22} {state} " + ", ".join(parts)


def _draining_lines(draining: list[dict[str, Any]], now: datetime) -> Iterator[str]:
    if draining:
        yield "draining"
    for each in draining:
        until = ""
        if each["until"] is not None:
            until = f", cut off in {span((moment(each['until']) - now).total_seconds())}"
        work = f"{each['in_flight']} in flight, {each['connections']} connections"
        yield f"  {each['target']} of {each['rule']}: {each['reason']}, {work}{until}"
