"""Keys of one listener that need or exclude each other.

Owns:      protocol against TLS keys, one-way against mutual, one certificate against several.
Elsewhere: rules (rules.py), references (names.py), sockets (sockets.py).
Pure:      plain data in, problems out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from clb.config.checks.view import View
from clb.config.faults import Problem, quote
from clb.config.listeners import Limits
from clb.units import format_size, parse_size

_TLS_KEYS = ("certificate", "certificates", "sni", "tls_policy", "ssl_mode")
_CLIENT_KEYS = ("ca_certificate", "verify_client", "crl", "verify_depth", "min_client_key_bits")


def check_listener(listener: View) -> Iterator[Problem]:
    """Everything but its rules."""
    protocol = listener.text("protocol", "https")
    if protocol == "http":
        yield from _check_http(listener)
    elif protocol == "https":
        yield from _check_server_certificate(listener)
        yield from _check_client_certificate(listener)
    yield from _check_limits(listener)
    yield from _check_trust(listener)


def _check_http(listener: View) -> Iterator[Problem]:
    for key in (*_TLS_KEYS, *_CLIENT_KEYS):
        if listener.given(key):
            message = f'an http listener has no TLS; remove {key} or set "protocol: https"'
            yield Problem(listener.at(key), message, "key")
    if not listener.given("port"):
        message = "443 is the default port of http listeners too; write port: 80 or the port that is meant"
        yield Problem(listener.at("port"), message, is_warning=True)


def _check_server_certificate(listener: View) -> Iterator[Problem]:
    has_one, has_several = listener.given("certificate"), listener.given("certificates")
    sni = listener.flag("sni")
    if sni is None:
        return  # no truth value: said by the model
    if has_one and has_several:
        keep = "certificates" if sni else "certificate"
        drop = "certificate" if sni else "certificates"
        yield Problem(listener.at(drop), f"stands beside {keep}; a listener has one of the two, remove {drop}", "key")
    elif sni and has_one:
        yield Problem(listener.at("certificate"), "with sni: true write certificates: [name, ...]", "key")
    elif has_several and not sni:
        message = "several certificates need sni: true; add it, or write certificate: name"
        yield Problem(listener.at("certificates"), message, "key")
    elif not has_one and not has_several:
        key = "certificates" if sni else "certificate"
        yield Problem(listener.at(key), "is missing; an https listener shows a server certificate")
    yield from _check_several(listener)


def _check_several(listener: View) -> Iterator[Problem]:
    names = [item for item in listener.items("certificates") if isinstance(item, str)]
    if listener.is_empty_list("certificates"):
        yield Problem(listener.at("certificates"), "is empty; list one certificate or more, the default first")
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(listener.at("certificates"), f"lists {quote(name)} {count} times; once is enough")


def _check_client_certificate(listener: View) -> Iterator[Problem]:
    mode = listener.text("ssl_mode", "one_way")
    if mode == "mutual" and not listener.given("ca_certificate"):
        message = "is missing; ssl_mode: mutual checks clients against a CA certificate"
        yield Problem(listener.at("ca_certificate"), message)
    if mode != "one_way":
        return
    for key in _CLIENT_KEYS:
        if listener.given(key):
            message = f"a one_way listener checks no client certificate; set ssl_mode: mutual or remove {key}"
            yield Problem(listener.at(key), message, "key")


def _check_limits(listener: View) -> Iterator[Problem]:
    limits = listener.view("limits")
    header_bytes = _size(limits, "header_bytes", Limits().header_bytes)
    uri_bytes = _size(limits, "uri_bytes", Limits().uri_bytes)
    if header_bytes is not None and uri_bytes is not None and uri_bytes > header_bytes:
        key = "uri_bytes" if limits.given("uri_bytes") else "header_bytes"
        message = (
            f"uri_bytes ({format_size(uri_bytes)}) is larger than header_bytes "
            f"({format_size(header_bytes)}), of which it is a part"
        )
        yield Problem(limits.at(key), message)


def _size(limits: View, key: str, default: int) -> int | None:
    value = limits.number(key) if limits.number(key) is not None else limits.text(key)
    if value is None:
        return None if limits.given(key) else default
    try:
        return parse_size(value)
    except ValueError:
        return None


def _check_trust(listener: View) -> Iterator[Problem]:
    proxy = listener.view("proxy_protocol")
    if proxy.is_empty_list("from"):
        yield Problem(proxy.at("from"), "is empty, so no client could connect; list the networks of the proxies")
