"""The PROXY protocol, versions 1 and 2: who the client behind a trusted load balancer is.

Owns:      the grammar of the header (HAProxy's proxy-protocol.txt, sections 2.1 and 2.2).
Elsewhere: from whom it is accepted (`proxy_protocol.from`), and its bytes in the ledger (proxy/downstream.py).
Pure:      bytes in; a header, nothing yet, or an error out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from clb.errors import ClbError, Side

_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_LIMIT = 107
"""The longest line of version 1, CRLF included."""
_V2_LIMIT = 16 + 4096
"""Addresses and TLVs; more is not what a load balancer sends."""


class BadProxyHeader(ClbError):
    """The connection does not begin with a PROXY header, though its listener asks for one."""

    side, client_status = Side.DOWNSTREAM, None


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What the header said; the address is None for LOCAL and UNKNOWN, where the peer itself is the client."""

    length: int
    address: str | None
    port: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the start of `data`; None while it is incomplete.

    Raises:
        BadProxyHeader: this is none, or a malformed one.
    """
    if data[:12] == _V2_SIGNATURE[: len(data)]:
        return _read_v2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _read_v1(data)
    raise BadProxyHeader("no PROXY header")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_LIMIT)
    if end < 0:
        if len(data) >= _V1_LIMIT:
            raise BadProxyHeader(f"version 1 line over {_V1_LIMIT} bytes")
        return None
    parts = data[:end].split(b" ")
    if parts[1:2] == [b"UNKNOWN"]:
        return ProxyHeader(end + 2, None, 0)
    if len(parts) != 6 or parts[1] not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader("version 1 line outside the grammar")
    address_class = IPv4Address if parts[1] == b"TCP4" else IPv6Address
    try:
        source = address_class(parts[2].decode("ascii"))
        address_class(parts[3].decode("ascii"))
        ports = [_port(part) for part in parts[4:]]
    except (AddressValueError, UnicodeDecodeError) as error:
        raise BadProxyHeader("version 1 line with a malformed address") from error
    return ProxyHeader(end + 2, str(source), ports[0])


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise BadProxyHeader("version 1 line with a malformed port")
    return int(text)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version_command, family, length = struct.unpack_from("!BBH", data, 12)
    if version_command not in (0x20, 0x21) or 16 + length > _V2_LIMIT:
        raise BadProxyHeader("version 2 header with an unknown command or over its bound")
    if len(data) < 16 + length:
        return None
    if version_command == 0x20 or family == 0x00:
        return ProxyHeader(16 + length, None, 0)
    if family == 0x11 and length >= 12:
        source, _, port = struct.unpack_from("!4s4sH", data, 16)
        return ProxyHeader(16 + length, str(IPv4Address(source)), port)
    if family == 0x21 and length >= 36:
        source, _, port = struct.unpack_from("!16s16sH", data, 16)
        return ProxyHeader(16 + length, str(IPv6Address(source)), port)
    raise BadProxyHeader("version 2 header with an unknown family or too short for it")
