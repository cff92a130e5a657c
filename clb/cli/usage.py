"""`clb usage`: what was billed and what else crossed the wire, whether it still is what was closed, and what it costs.

Owns:      the words, and the form of what is printed and saved.
Elsewhere: statements and the walk along the chain (control/usage_reports.py); tariffs (metering/tariffs.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from clb.cli.node_client import EXIT_REFUSED, AsJson, ConfigFile, NodeClient, NodeFault, SocketFile
from clb.cli.object_client import PATIENCE_S, Telling
from clb.cli.table import table

_PATH: Final = "/v1/usage"

app = typer.Typer(help="What was billed, and what else crossed the wire.", add_completion=False)

Begin = Annotated[str | None, typer.Option("--from", metavar="TIME", help="2026-11, 2026-11-25 or RFC 3339; UTC.")]
End = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this; of a month or day, its begin.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this one's.")]
OfNode = Annotated[str | None, typer.Option("--node", help="Only this one's.")]
TariffsFile = Annotated[Path, typer.Option("--tariffs", metavar="FILE", help="Tariffs as YAML; see config/tariffs.")]


@app.callback(invoke_without_command=True)
def usage(
    context: typer.Context,
    by: Annotated[
        str, typer.Option("--by", help="One or several of node, tenant, load_balancer, listener, rule; with commas.")
    ] = "tenant,listener",
    begin: Begin = None,
    end: End = None,
    every: Annotated[str | None, typer.Option("--every", help="In steps: minute, five_minutes, hour, day.")] = None,
    tenant: Tenant = None,
    node: OfNode = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print lines of CSV.")] = False,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a statement: by default of this month, by tenant and listener."""
    if context.invoked_subcommand is not None:
        return
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        told = _statement(client, by, begin, end, every, tenant, node)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    elif as_csv:
        _print_csv(told)
    else:
        _print_statement(told)


@app.command()
def head(config: ConfigFile = None, socket: SocketFile = None) -> None:
    """Print the newest signed link of each node's chain, to be kept elsewhere: `verify --head` compares with it."""
    with Telling():
        typer.echo(json.dumps(NodeClient.of(config, socket, PATIENCE_S).get(f"{_PATH}/head"), indent=2))


@app.command()
def verify(
    kept: Annotated[
        Path | None, typer.Option("--head", metavar="FILE", help="What clb usage head printed once.")
    ] = None,
    estimate_file: Annotated[
        Path | None, typer.Option("--estimate", metavar="FILE", help="What clb usage estimate --save wrote.")
    ] = None,
    tariffs: Annotated[Path | None, typer.Option("--tariffs", metavar="FILE", help="The tariffs it was of.")] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Walk the chain of closed hours and say where it breaks.

    Exit status 1 if a closed hour is not what was closed, or is gone; if it was cut off behind a head that was kept; or
    if an estimate's hours or tariffs are others now.
    """
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        told = client.get(f"{_PATH}/verify")
        breaks = [_break(each) for each in told["breaks"]]
        if kept is not None:
            breaks += _against_heads(told, _saved(kept))
        if estimate_file is not None:
            breaks += _against_estimate(client, _saved(estimate_file), tariffs)
    if as_json:
        typer.echo(json.dumps({**told, "ok": not breaks, "found": breaks}, indent=2))
    else:
        for line in breaks:
            typer.echo(line, err=True)
        words = f"{told['hours']} closed hours, {told['signed']} with a signature that holds"
        pruned = f", {told['pruned']} of them without rows by now" if told["pruned"] else ""
        typer.echo(f"{words}{pruned}: {'they are what was closed' if not breaks else f'{len(breaks)} faults'}")
    if breaks:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def estimate(
    tariffs: TariffsFile,
    begin: Begin = None,
    end: End = None,
    tenant: Tenant = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write it down, for clb usage verify --estimate.")
    ] = None,
    config: ConfigFile = None,
    socket: SocketFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare what a recorded time costs under several tariffs."""
    with Telling():
        client = NodeClient.of(config, socket, PATIENCE_S)
        found = _estimated(client, tariffs, begin, end, tenant)
        if save is not None:
            _write(save, found)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(f"{found['from'][:16]} to {found['to'][:16]} UTC{_of(tenant)}")
    rows = [(name, f"{each['amount']} {found['currency']}", each["basis"]) for name, each in found["costs"].items()]
    for line in table(("TARIFF", "COSTS", "BASIS"), rows):
        typer.echo(line)


# --- asking ---


def _statement(
    client: NodeClient,
    by: str,
    begin: str | None,
    end: str | None,
    every: str | None,
    tenant: str | None,
    node: str | None,
) -> dict[str, Any]:
    filters = {"by": by, "from": _instant(begin), "to": _instant(end), "every": every, "tenant": tenant, "node": node}
    query = {name: value for name, value in filters.items() if value is not None}
    told: dict[str, Any] = {}
    after: str | None = None
    while True:
        page = client.get(f"{_PATH}?{urlencode({**query, 'limit': 10000, **({'after': after} if after else {})})}")
        page["groups"] = [*told.get("groups", []), *page["groups"]]
        told, after = page, page["next"]
        if after is None:
            return told


def _instant(text: str | None) -> str | None:
    """A month, a day or a time, as the API takes it."""
    if text is None or "T" in text:
        return text
    for form in ("%Y-%m", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).isoformat()
        except ValueError:
            continue
    raise NodeFault(f"{text}: write a month (2026-11), a day (2026-11-25) or a time (2026-11-25T10:00:00Z)", [], 2)


# --- estimates ---


def _estimated(
    client: NodeClient, tariffs: Path, begin: str | None, end: str | None, tenant: str | None
) -> dict[str, Any]:
    from clb.cli.tariff_file import digest, read_tariffs
    from clb.metering.tariffs import Recorded, cost

    known = read_tariffs(tariffs)
    by = "tenant" if tenant is not None else "node"
    hours = _statement(client, by, begin, end, "hour", tenant, None)
    windows = _statement(client, by, begin, end, "five_minutes", tenant, None)
    first, last = datetime.fromisoformat(hours["begin"]), datetime.fromisoformat(hours["end"])
    recorded = Recorded(
        int((last - first).total_seconds()), [*_slices(windows["groups"])], [*_slices(hours["groups"])]
    )  # fmt: skip
    costs = {name: cost(each, recorded) for name, each in known.tariffs.items()}
    return {
        "from": hours["begin"],
        "to": hours["end"],
        "tenant": tenant,
        "currency": known.currency,
        "costs": {
            name: {"amount": str(each.amount), "basis": each.basis, "tariff": digest(known.tariffs[name])}
            for name, each in costs.items()
        },
        "hours": _hours(hours["groups"]),
    }


def _slices(groups: list[dict[str, Any]]) -> Iterator[Any]:
    """One for each step, of all nodes together."""
    from clb.metering.tariffs import Slice

    names = ("billed_in", "billed_out", "connections", "connections_open_peak", "rule_evaluations")
    for figures in _by_step(groups).values():
        yield Slice(*(sum(each[name] for each in figures) for name in names))


def _by_step(groups: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    steps: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        steps.setdefault(group["start"], []).append(group)
    return steps


def _hours(groups: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """What each hour had when it was computed, so that an hour that is another later can be named."""
    names = ("billed_in", "billed_out", "connections", "connections_open_peak", "rule_evaluations")
    return {
        start: {name: sum(each[name] for each in figures) for name in names}
        for start, figures in _by_step(groups).items()
    }


def _against_estimate(client: NodeClient, saved: dict[str, Any], tariffs: Path | None) -> list[str]:
    by = "tenant" if saved["tenant"] is not None else "node"
    now = _hours(_statement(client, by, saved["from"], saved["to"], "hour", saved["tenant"], None)["groups"])
    found = [
        f"hour {start}: its figures are not those that the estimate was made of"
        for start in sorted(saved["hours"].keys() | now.keys())
        if saved["hours"].get(start) != now.get(start)
    ]
    if tariffs is not None:
        from clb.cli.tariff_file import digest, read_tariffs

        known = read_tariffs(tariffs).tariffs
        for name, each in saved["costs"].items():
            if name not in known or digest(known[name]) != each["tariff"]:
                found.append(f"tariff {name}: it is not the one that the estimate was made with")
    return found


def _against_heads(told: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    """Whether the chain still leads through what was its head."""
    newest = {each["node"]: each for each in told["heads"]}
    found = []
    for kept in saved["heads"]:
        now = newest.get(kept["node"])
        if now is None or now["sequence"] < kept["sequence"]:
            found.append(f"node {kept['node']}, hour {kept['start']}: it was closed, and is gone")
        elif now["sequence"] == kept["sequence"] and now["chain"] != kept["chain"]:
            found.append(f"node {kept['node']}, hour {kept['start']}: its link is another one")
    return found


def _saved(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise NodeFault(f"{path}: {error.strerror}", [], 2) from error
    except ValueError as error:
        raise NodeFault(f"{path}: not what this command wrote: {error}", [], 2) from error
    return found


def _write(path: Path, found: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise NodeFault(f"{path}: {error.strerror}", [], 2) from error


# --- printing ---


def _print_statement(told: dict[str, Any]) -> None:
    keys = [*(["start"] if any(each["start"] for each in told["groups"]) else []), *told["by"]]
    head = [
        *(key.upper().replace("_", " ") for key in keys),
        "BILLED IN",
        "OUT",
        "HANDSHAKE",
        "OVERHEAD",
        "WIRE",
        "UNSENT",
    ]
    rows = [
        [*(str(each[key] or "-")[: 16 if key == "start" else None] for key in keys), *_figures(each)]
        for each in told["groups"]
    ]
    rows.append(["total", *[""] * (len(keys) - 1), *_figures(told["total"])])
    typer.echo(f"{told['begin'][:16]} to {told['end'][:16]} UTC")
    for line in table(head, rows):
        typer.echo(line)
    total = told["total"]
    for side, word in (("in", "in "), ("out", "out")):
        parts = " + ".join(f"{name} {total[f'{name}_{side}']:,}" for name in ("handshake", "billed", "overhead"))
        typer.echo(f"{word}: wire {total[f'wire_{side}']:,} = {parts} + open {total[f'residual_{side}']:,}")
    if told["explanation"]:
        typer.echo(told["explanation"])
    if total["defects"]:
        typer.echo(f"{total['defects']} connections did not add up: a defect; the log has their numbers", err=True)
    closed = f"closed until {told['closed_until'][:16]}" if told["closed_until"] else "no hour is closed yet"
    typer.echo(closed)


def _figures(each: dict[str, Any]) -> list[str]:
    both = [each[f"{name}_in"] + each[f"{name}_out"] for name in ("handshake", "overhead", "wire")]
    # To the byte: who reads this may have counted as well.
    return [f"{count:,}" for count in (each["billed_in"], each["billed_out"], *both, each["unsent_out"])]


def _print_csv(told: dict[str, Any]) -> None:
    keys = [*(["start"] if any(each["start"] for each in told["groups"]) else []), *told["by"]]
    names = [name for name in told["total"] if name != "requests"]
    typer.echo(",".join([*keys, *names, "requests"]))
    for each in told["groups"]:
        cells = [*(_quoted(each[key]) for key in keys), *(str(each[name]) for name in names)]
        typer.echo(",".join([*cells, str(sum(each["requests"].values()))]))


def _quoted(value: Any) -> str:
    text = "" if value is None else str(value)
    # A spreadsheet would take it for a formula.
    text = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(each in text for each in ',"\n') else text


def _break(each: dict[str, Any]) -> str:
    hour = f", hour {each['hour']}" if each["hour"] else ""
    return f"node {each['node']}{hour}: {each['what']}"


def _of(tenant: str | None) -> str:
    return f", tenant {tenant}" if tenant is not None else ""
