"""What several keys say together, found whatever else is wrong with the file.

Owns:      every rule that no single key can break alone; `check` runs them all.
Elsewhere: single keys (fields.py); the files that keys point to (service/materials.py).
Pure:      plain data in, problems out.

The checks read the plain data, not the models: a model with one bad key does not come into being, and its
writer would see the other half of the faults only after mending the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from clb.config.checks.limits import check_limits
from clb.config.checks.listeners import check_listener
from clb.config.checks.names import check_certificates, check_names, check_references
from clb.config.checks.node import check_node
from clb.config.checks.redirects import check_redirects
from clb.config.checks.rules import check_rules
from clb.config.checks.sockets import check_sockets
from clb.config.checks.view import View
from clb.config.faults import Problem


def check(data: object) -> Iterator[Problem]:
    """Every problem and warning of the whole document."""
    root = View(data, ())
    yield from check_node(root)
    yield from check_certificates(root)
    yield from check_names(root)
    yield from check_references(root)
    yield from check_sockets(root)
    yield from check_redirects(root)
    for balancer in root.views("load_balancers"):
        for listener in balancer.views("listeners"):
            yield from check_listener(listener)
            yield from check_rules(listener)
            yield from check_limits(listener)
            for rule in listener.views("rules"):
                yield from check_limits(rule)
