"""The proxies that are compared, each with the same site in its own words.

Owns:      the table of peers; each writes its configuration into the site's directory and returns a command.
Elsewhere: what the site is (site.py); that the peers really do the same (equivalence.py).
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers import clb, envoy, haproxy, nginx
from benchmarks.site import Launch, Site

PEERS: dict[str, Callable[[Site], Launch]] = {
    "clb": clb.prepare,
    "nginx": nginx.prepare,
    "haproxy": haproxy.prepare,
    "envoy": envoy.prepare,
}
