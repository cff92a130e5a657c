"""clb as the peer: one worker, everything that it does by default left on.

Owns:      clb's spelling of the site.
Elsewhere: what the keys mean (clb/config/models.py).
Pure:      `render`; `prepare` writes one file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks import site as contract
from benchmarks.material import HOST
from benchmarks.processes import free_ports
from benchmarks.site import Launch, Site


def render(site: Site) -> dict[str, Any]:
    """The configuration document."""
    return {
        "node": {
            "name": "bench",
            "workers": 1,
            "state_dir": str(site.directory / "state"),
            "access_log": {"path": str(site.access_log), "format": "tencent"},
        },
        "certificates": {
            kind: {
                "type": "server",
                "certificate": str(pair.certificate),
                "private_key": str(pair.private_key),
            }
            for kind, pair in site.key_pairs.items()
        },
        "load_balancers": [{"name": "bench", "listeners": [_listener(site, kind) for kind in site.ports]}],
    }


def prepare(site: Site) -> Launch:
    """Write the configuration and say how clb is started with it."""
    path = site.directory / "clb.yaml"
    document = {**render(site), "admin": {"port": free_ports(1)[0]}}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    command = os.environ.get("BENCH_CLB", str(Path(sys.executable).with_name("clb")))
    return Launch([command, "serve", "--config", str(path)])


def _listener(site: Site, kind: str) -> dict[str, Any]:
    # `intermediate` is TLS 1.2 and 1.3 with the suites of the others. All else that the other configurations
    # state (timeouts, 10,000 requests per connection, 60 MiB of body, 64 idle connections) is clb's default.
    return {
        "name": kind,
        "address": "127.0.0.1",
        "port": site.ports[kind],
        "protocol": "https",
        "tls_policy": "intermediate",
        "certificate": kind,
        "limits": {"connections": min(site.connections, contract.CONNECTIONS)},
        "rules": [
            {
                "domain": HOST,
                "default": True,
                "url": "/",
                "targets": [{"address": "127.0.0.1", "port": site.upstream_port}],
            }
        ],
    }
