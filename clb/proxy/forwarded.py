"""The header fields clb puts before a real server (reference: Tencent CLB, section 6).

Owns:      the fields that are the same for a whole connection, and the merging with what a client supplied.
Elsewhere: taking client copies out (http1/request.py); the client's certificate (tls/client_identity.py).
Pure:      addresses in, bytes out.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from clb.http1.fields import list_members

Networks = tuple[IPv4Network | IPv6Network, ...]


def contains(networks: Networks, address: str) -> bool:
    """Tell whether an address is in one of the networks; an IPv4-mapped IPv6 address counts as IPv4."""
    if not networks:
        return False
    ip = ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return any(ip.version == network.version and ip in network for network in networks)


def connection_lines(scheme: bytes, port: int, identity_lines: bytes) -> bytes:
    """Return the fields that every HTTP/1.1 request of a connection gets, but for the client's address."""
    return b"X-Forwarded-Proto: %b\r\nX-Forwarded-Port: %d\r\nX-Client-Proto: %b\r\n%b" % (
        scheme,
        port,
        scheme,
        identity_lines,
    )


def address_lines(client_address: bytes) -> bytes:
    """Return the address fields of a request that came without X-Forwarded-For."""
    return b"X-Forwarded-For: %b\r\nX-Real-IP: %b\r\n" % (client_address, client_address)


def merged_address_lines(supplied: bytes, client_address: bytes, real_address: bytes) -> bytes:
    """Return the address fields of a request whose X-Forwarded-For is appended to."""
    return b"X-Forwarded-For: %b, %b\r\nX-Real-IP: %b\r\n" % (supplied, client_address, real_address)


def real_address(supplied: bytes, peer: bytes, trusted: Networks) -> bytes:
    """Walk X-Forwarded-For from its end and return the first address that is not a trusted proxy's.

    A member that is no address ends the walk: nothing to its left can be believed.
    """
    address = peer
    for member in reversed(list_members(supplied)):
        if not contains(trusted, address.decode("ascii")):
            break
        try:
            address = str(ip_address(member.decode("ascii").strip("[]"))).encode("ascii")
        except ValueError:
            break
    return address
