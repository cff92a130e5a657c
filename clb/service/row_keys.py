"""Which things of a configuration have a row in the shared cells.

Owns:      the list.
Elsewhere: the rows and the spelling of their keys (metering/cells.py).
Pure:      a configuration in, keys out.
"""

from __future__ import annotations

from collections.abc import Iterator

from clb.config.models import Config
from clb.metering.cells import listener_key, rule_key, target_key


def row_keys(config: Config) -> Iterator[str]:
    """Listeners, rules and targets that this node serves."""
    for balancer in config.served:
        for listener in balancer.listeners:
            yield listener_key(balancer.name, listener.name)
            for rule in listener.rules:
                rule_name = rule_key(balancer.name, listener.name, rule.domain, rule.url)
                yield rule_name
                for target in rule.targets:
                    yield target_key(rule_name, _identity(target.address, target.port))


def _identity(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
