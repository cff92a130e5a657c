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
    """At most one source of the keyring; no management in clear text but on this machine."""
    keyring = root.view("keyring")
    sources = [key for key in ("file", "env", "command") if keyring.given(key)]
    if len(sources) > 1:
        yield Problem(keyring.path, f"has {' and '.join(sources)}; the key comes from one of them, keep one", "key")
    notify = root.view("notify")
    if notify.given("secret") and not notify.given("webhook"):
        yield Problem(notify.at("secret"), "signs nothing without webhook; add webhook or remove secret", "key")
    admin = root.view("admin")
    if admin.flag("danger_plain_http"):
        at = admin.at("danger_plain_http")
        if admin.given("tls"):
            yield Problem(at, "speaks clear text, so tls is for nothing; keep one of them", "key")
        if not _is_loopback(admin.text("address", "127.0.0.1")):
            message = "tokens could be read on the network; remove it, or use address: 127.0.0.1"
            yield Problem(at, message, "key")


def _is_loopback(address: str | None) -> bool:
    try:
        return address is None or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True
