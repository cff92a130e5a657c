"""Who a client is by its address: lists of networks, what they let in, and the network that an address counts for.

Owns:      looking an address up among many networks, the meaning of allow and deny, the prefix of a source.
Elsewhere: where lists are asked (proxy/admission.py, proxy/request_gate.py); the grammar of a network (config/).
Pure:      an address in, an answer out.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
_BITS = {4: 32, 6: 128}


class NetworkSet:
    """Any number of networks; a look-up takes one step for each length of prefix among them, not for each network."""

    def __init__(self, networks: Iterable[Network]) -> None:
        by_shift: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = _BITS[network.version] - network.prefixlen
            by_shift.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._tables = {
            version: tuple((shift, frozenset(values)) for (of, shift), values in by_shift.items() if of == version)
            for version in _BITS
        }

    def __bool__(self) -> bool:
        return any(self._tables.values())

    def __contains__(self, address: str) -> bool:
        version, number = _number(address)
        return any(number >> shift in values for shift, values in self._tables[version])


class AccessList:
    """Whom to serve: nobody of `deny`, and where there is an `allow` nobody else."""

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        self._allow = NetworkSet(allow)
        self._deny = NetworkSet(deny)

    def __bool__(self) -> bool:
        return bool(self._allow) or bool(self._deny)

    def lets_in(self, address: str) -> bool:
        """Tell whether an address is served."""
        return address not in self._deny and (not self._allow or address in self._allow)


def source_network(address: str, prefix_v4: int, prefix_v6: int) -> bytes:
    """Return what stands for all addresses that count as one source; a subscriber has a /64 of IPv6 at the least."""
    version, number = _number(address)
    prefix = prefix_v4 if version == 4 else prefix_v6
    return b"%d/%x" % (version, number >> (_BITS[version] - prefix))


def _number(address: str) -> tuple[int, int]:
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.version, int(ip)
