"""Which regions a node serves, and which load balancers meet on one.

Owns:      reading `region` of a node and of a load balancer, each one name or several.
Elsewhere: what must not meet (sockets.py, redirects.py).
Pure:      plain data in, names out.
"""

from __future__ import annotations

from clb.config.checks.view import View

_DEFAULT = "local"


def node_regions(root: View) -> frozenset[str]:
    """The regions of the node."""
    return _names(root.view("node")) or frozenset({_DEFAULT})


def regions_of(balancer: View, here: frozenset[str]) -> frozenset[str]:
    """The regions in which a load balancer meets others: what the node has of it is where the node's others are."""
    return meeting(_names(balancer), here)


def meeting(regions: frozenset[str], here: frozenset[str]) -> frozenset[str]:
    """The same of names that are known already; none are the node's."""
    if not regions:
        return here
    return regions | here if regions & here else regions


def _names(view: View) -> frozenset[str]:
    if (region := view.text("region")) is not None:
        return frozenset({region})
    return frozenset(item for item in view.items("region") if isinstance(item, str))
