"""No two listeners on one socket.

Owns:      which listening addresses exclude each other on one node, the management address included.
Elsewhere: whether something else on the machine has the port (the bind tells).
Pure:      plain data in, problems out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clb.config.checks.regions import node_regions, regions_of
from clb.config.checks.view import View
from clb.config.faults import Path, Problem, spell


@dataclass(frozen=True, slots=True)
class Socket:
    """An address that a node of some regions would have to bind."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    regions: frozenset[str]
    owner: str
    """For people."""
    place: Path = ()

    def clashes(self, other: Socket) -> bool:
        """Whether one node would have to bind both and the kernel would refuse the second."""
        if self.port != other.port or not self.regions & other.regions:
            return False
        return self.address == other.address or _covers(self.address, other) or _covers(other.address, self)

    def __str__(self) -> str:
        address = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{address}:{self.port}"


def _covers(address: ipaddress.IPv4Address | ipaddress.IPv6Address, other: Socket) -> bool:
    # `::` is bound for both families, so it takes IPv4 ports too; 0.0.0.0 takes those of IPv4 only.
    return address.is_unspecified and (address.version == 6 or other.address.version == 4)


def check_sockets(root: View) -> Iterator[Problem]:
    """No two in one file."""
    for socket, clash in clashes(_sockets(root)):
        message = f"{socket} is taken by {clash.owner} ({clash}); choose another port or address"
        yield Problem(socket.place, message)


def clashes(sockets: Iterable[Socket]) -> Iterator[tuple[Socket, Socket]]:
    """Each socket that cannot be had, and the one before it that has it.

    Compares only sockets of one port, so a thousand listeners cost nothing.
    """
    by_port: dict[int, list[Socket]] = {}
    for socket in sockets:
        earlier = by_port.setdefault(socket.port, [])
        clash = next((other for other in earlier if socket.clashes(other)), None)
        if clash is not None:
            yield socket, clash
        earlier.append(socket)


def _sockets(root: View) -> Iterator[Socket]:
    here = node_regions(root)
    admin = root.view("admin")
    yield from _socket(admin, "127.0.0.1", 9443, here)
    for balancer in root.views("load_balancers"):
        regions = regions_of(balancer, here)
        for listener in balancer.views("listeners"):
            yield from _socket(listener, "0.0.0.0", 443, regions)  # noqa: S104 - the documented default


def _socket(view: View, address: str, port: int, regions: frozenset[str]) -> Iterator[Socket]:
    text, number = view.text("address", address), view.number("port", port)
    if text is None or number is None:
        return
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return  # said by the model
    yield Socket(parsed, number, regions, spell(view.path), view.at("port"))
