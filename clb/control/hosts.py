"""Which Host a request to the management address may name: the defence against DNS rebinding.

Owns:      the rule. A page of a stranger's site can make a browser speak to this address under the stranger's name,
           but it cannot make the name one of ours, nor a bare address.
Elsewhere: the grammar of Host (http1/target.py); asking (guard.py).
Pure:      names in, yes or no out.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from clb.errors import BadHost
from clb.http1.target import split_host


class KnownHosts:
    """Any bare address, `localhost`, and the names given (`*.x` stands for one label, as in a certificate)."""

    def __init__(self, names: Iterable[str]) -> None:
        lower = {name.lower().rstrip(".") for name in names}
        self._exact = {name for name in lower if not name.startswith("*.")} | {"localhost"}
        self._wildcard = {name[2:] for name in lower if name.startswith("*.")}

    def knows(self, field: bytes) -> bool:
        """Tell whether the value of a Host field is one of ours."""
        try:
            host = split_host(field)[0].decode("ascii")
        except BadHost:
            return False
        try:
            ip_address(host.strip("[]"))
        except ValueError:
            return host in self._exact or host.partition(".")[2] in self._wildcard
        return True
