"""Keys of the node's own parts that exclude each other.

Owns:      keyring and management address.
Elsewhere: single keys (config/node.py).
Pure:      plain data in, problems out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from clb.config.checks.view import View
from clb.config.faults import Problem


def check_node(root: View) -> Iterator[Problem]:
    """At most one source of the keyring; no management in clear text on an open address."""
    keyring = root.view("keyring")
    sources = [key for key in ("file", "env", "command") if keyring.given(key)]
    if len(sources) > 1:
        yield Problem(keyring.path, f"has {' and '.join(sources)}; the key comes from one of them, keep one", "key")
    notify = root.view("notify")
    if notify.given("secret") and not notify.given("webhook"):
        yield Problem(notify.at("secret"), "signs nothing without webhook; add webhook or remove secret", "key")
    admin = root.view("admin")
    if not admin.given("tls") and not _is_loopback(admin.text("address", "127.0.0.1")):
        message = "management without TLS can be read on the network; add tls or use address: 127.0.0.1"
        yield Problem(admin.at("address"), message, is_warning=True)


def _is_loopback(address: str | None) -> bool:
    try:
        return address is None or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True
