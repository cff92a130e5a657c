"""`clb check`: is this configuration sound, and what would be served?

Owns:      the summary and the exit status.
Elsewhere: the checks (config/, service/inspection.py). The store is read, and not changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from clb.config.models import Config, Listener, Rule
from clb.service.bundle import CertificateFacts
from clb.service.inspection import inspect_whole

_MOST_RULES = 20
_MOST_NAMES = 6
_STANDARD_PORTS = {"https": 443, "http": 80}

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The YAML file.", show_default=False)]


def check(config: ConfigFile) -> None:
    """Check a configuration and everything it points to; show what would be served.

    Exit status 0 if it can be served (there may be warnings), else 1, with every fault on standard error.
    """
    whole = inspect_whole(config, may_prepare=False)
    for warning in whole.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for fault in whole.faults:
        print(fault, file=sys.stderr)
    if whole.merged is None:
        print(_count(whole.faults, "error"), file=sys.stderr)
        raise typer.Exit(1)
    tree = summary(whole.merged.config, whole.facts, datetime.now(UTC))
    if sys.stdout.isatty():
        Console(highlight=False).print(tree)
    else:
        print("\n".join(plain(tree)))
    print(f"{config}: sound, {_count(whole.warnings, 'warning')}")


def summary(config: Config, certificates: Mapping[str, CertificateFacts], now: datetime) -> Tree:
    """What this node would serve."""
    root = _tree(f"node {config.node.name}, region {', '.join(config.node.region)}, state in {config.node.state_dir}")
    for balancer in config.load_balancers:
        served = balancer.serves(config.node.region)
        elsewhere = "" if served else f" (not here: region {', '.join(balancer.region or ())})"
        branch = root.add(Text(f"load balancer {balancer.name}{elsewhere}"))
        for listener in balancer.listeners if served else ():
            _add_listener(branch, listener, certificates, now)
    scheme = "http" if config.admin.danger_plain_http else "https"
    root.add(Text(f"management {scheme}://{_host(config.admin.address)}:{config.admin.port}"))
    return root


def plain(tree: Tree, depth: int = 0) -> Iterator[str]:
    """The tree as indented lines, for pipes and logs."""
    yield "  " * depth + str(tree.label)
    for child in tree.children:
        yield from plain(child, depth + 1)


def _add_listener(
    branch: Tree, listener: Listener, certificates: Mapping[str, CertificateFacts], now: datetime
) -> None:
    node = branch.add(Text(f"listener {listener.name}: {_url(listener)}"))
    if listener.protocol == "https":
        node.add(Text(f"tls: {_tls(listener)}"))
        for name in listener.certificate_names:
            node.add(Text(f"certificate {name}: {_certificate(certificates[name], now)}"))
    for rule in listener.rules[:_MOST_RULES]:
        _add_rule(node, rule)
    if (more := len(listener.rules) - _MOST_RULES) > 0:
        node.add(Text(f"and {more} more rules"))


def _add_rule(node: Tree, rule: Rule) -> None:
    default = " (default)" if rule.default else ""
    head = f"rule {rule.domain} {rule.url}{default}"
    if rule.redirect is not None:
        node.add(Text(f"{head}: redirect {rule.redirect.status} to {_destination(rule)}"))
        return
    targets = ", ".join(f"{_host(t.address)}:{t.port} weight {t.weight}" for t in rule.targets[:_MOST_NAMES])
    more = f" and {len(rule.targets) - _MOST_NAMES} more" if len(rule.targets) > _MOST_NAMES else ""
    node.add(Text(f"{head}: {rule.scheduler} to {targets or 'nobody'}{more}"))


def _destination(rule: Rule) -> str:
    redirect = rule.redirect
    assert redirect is not None, "only called for rules that redirect"
    scheme = f"{redirect.scheme or '(same scheme)'}://"
    port = f":{redirect.port}" if redirect.port else ""
    path = redirect.path or ("(same path)" if redirect.keep_path else "/")
    return f"{scheme}{redirect.host or '(same host)'}{port}{path}"


def _tls(listener: Listener) -> str:
    text = f"policy {listener.tls_policy}, {listener.ssl_mode}"
    if listener.ssl_mode == "mutual":
        text += f", client certificate {listener.verify_client}, by {listener.ca_certificate}"
        text += ", revocation list" if listener.crl else ""
    return text


def _certificate(server: CertificateFacts, now: datetime) -> str:
    shown = ", ".join(server.names[:_MOST_NAMES])
    more = f" and {len(server.names) - _MOST_NAMES} more" if len(server.names) > _MOST_NAMES else ""
    days = (server.not_after - now).days
    left = f"{days} days left" if server.not_after > now else "EXPIRED"
    return f"{server.key_type} for {shown}{more}, until {server.not_after:%Y-%m-%d} ({left})"


def _url(listener: Listener) -> str:
    standard = listener.port == _STANDARD_PORTS[listener.protocol]
    return f"{listener.protocol}://{_host(listener.address)}{'' if standard else f':{listener.port}'}/"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _tree(label: str) -> Tree:
    return Tree(Text(label))


def _count(things: tuple[str, ...], what: str) -> str:
    return f"{len(things) or 'no'} {what}{'' if len(things) == 1 else 's'}"
