"""PROXY headers of both versions, whole and byte by byte, and what is none."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.proxy.proxy_protocol import BadProxyHeader, ProxyHeader, read_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(command: int, family: int, payload: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload) if length is None else length) + payload


V4 = IPv4Address("192.0.2.1").packed + IPv4Address("198.51.100.2").packed + struct.pack("!HH", 56324, 443)
V6 = IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + struct.pack("!HH", 4242, 443)

HEADERS = {  # case: (header, address, port)
    "v1_tcp4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1", 56324),
    "v1_tcp6": (b"PROXY TCP6 2001:DB8::1 2001:db8::2 4242 443\r\n", "2001:db8::1", 4242),
    "v1_unknown": (b"PROXY UNKNOWN\r\n", None, 0),
    "v1_unknown_with_more": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None, 0),
    "v1_longest": (
        b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        65535,
    ),
    "v1_port_zero": (b"PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n", "192.0.2.1", 0),
    "v2_tcp4": (version_2(0x21, 0x11, V4), "192.0.2.1", 56324),
    "v2_tcp4_with_tlv": (version_2(0x21, 0x11, V4 + b"\x03\x00\x04crc!"), "192.0.2.1", 56324),
    "v2_tcp6": (version_2(0x21, 0x21, V6), "2001:db8::1", 4242),
    "v2_local": (version_2(0x20, 0x00, b""), None, 0),
    "v2_local_with_address": (version_2(0x20, 0x11, V4), None, 0),
    "v2_unspecified": (version_2(0x21, 0x00, b"abc"), None, 0),
    "v2_at_its_bound": (version_2(0x21, 0x11, V4.ljust(4096, b"\0")), "192.0.2.1", 56324),
}


@pytest.mark.parametrize("behind", [b"", b"\x16\x03\x01", b"PROXY UNKNOWN\r\n"])
@pytest.mark.parametrize(("header", "address", "port"), HEADERS.values(), ids=HEADERS)
def test_header(header: bytes, address: str | None, port: int, behind: bytes) -> None:
    assert read_proxy_header(header + behind) == ProxyHeader(len(header), address, port)


@pytest.mark.parametrize("header", [case[0] for case in HEADERS.values()], ids=list(HEADERS))
def test_incomplete_until_its_last_byte(header: bytes) -> None:
    for length in range(len(header)):
        assert read_proxy_header(header[:length]) is None


REFUSED = {
    "tls": b"\x16\x03\x01\x02\x00",
    "http": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty_lines": b"\r\n\r\nGET",
    "small_letters": b"proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    "no_space": b"PROXYTCP4\r\n",
    "v1_nothing": b"PROXY \r\n",
    "v1_unknown_family": b"PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    "v1_too_few": b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
    "v1_too_many": b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
    "v1_two_spaces": b"PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
    "v1_address_of_the_other_family": b"PROXY TCP4 2001:db8::1 2001:db8::2 4242 443\r\n",
    "v1_source_no_address": b"PROXY TCP4 nobody 198.51.100.2 56324 443\r\n",
    "v1_destination_no_address": b"PROXY TCP4 192.0.2.1 nobody 56324 443\r\n",
    "v1_not_ascii": b"PROXY TCP4 192.0.2.\xb2 198.51.100.2 56324 443\r\n",
    "v1_port_too_high": b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    "v1_port_too_long": b"PROXY TCP4 192.0.2.1 198.51.100.2 000080 443\r\n",
    "v1_port_with_sign": b"PROXY TCP4 192.0.2.1 198.51.100.2 +80 443\r\n",
    "v1_port_empty": b"PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n",
    "v1_bad_destination_port": b"PROXY TCP4 192.0.2.1 198.51.100.2 80 x\r\n",
    "v1_without_end": b"PROXY TCP4 " + b"1" * 200,
    "v1_too_long": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "v2_version_3": version_2(0x31, 0x11, V4),
    "v2_unknown_command": version_2(0x22, 0x11, V4),
    "v2_udp": version_2(0x21, 0x12, V4),
    "v2_unix": version_2(0x21, 0x31, b"\0" * 216),
    "v2_too_short_for_v4": version_2(0x21, 0x11, V4[:-1]),
    "v2_too_short_for_v6": version_2(0x21, 0x21, V6[:-1]),
    "v2_over_its_bound": version_2(0x21, 0x11, V4, length=4097),
    "v2_signature_broken_at_its_end": SIGNATURE[:-1] + b"\r" + version_2(0x21, 0x11, V4)[12:],
}


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, is_cut: bool) -> None:
    def read() -> None:
        for length in range(1, len(data) + 1) if is_cut else [len(data)]:
            assert read_proxy_header(data[:length]) is None

    with pytest.raises(BadProxyHeader) as caught:
        read()
    assert caught.value.client_status is None


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: b"PROXY TCP4 " + tail)))
def test_anything_else_is_none_of_it(data: bytes) -> None:
    try:
        header = read_proxy_header(data)
    except BadProxyHeader:
        return
    assert header is None or 0 < header.length <= len(data)


@given(st.binary(max_size=120))
def test_any_second_version_is_read_or_refused(tail: bytes) -> None:
    try:
        header = read_proxy_header(SIGNATURE + tail)
    except BadProxyHeader:
        return
    assert header is None or 16 <= header.length <= 12 + len(tail)
