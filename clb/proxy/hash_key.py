"""What of a request decides where a rule with `scheduler: maglev` sends it.

Owns:      reading the key that `hash_on` names.
Elsewhere: what is made of it (balancing/maglev.py); the client's address (connection.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clb.balancing.cookies import cookie_value
from clb.config.models import HashOn

if TYPE_CHECKING:
    from clb.proxy.exchange import Exchange


def key_reader(hash_on: HashOn) -> Callable[[Exchange], bytes] | None:
    """Return what reads the key of an exchange; None where it is the client's address, which needs no reading.

    A request without the header or cookie is hashed on the client's address too: all of them in one place would
    be the end of that place.
    """
    if hash_on.header is not None:
        return _header_reader(hash_on.header.lower().encode("ascii"))
    if hash_on.cookie is not None:
        return _cookie_reader(hash_on.cookie.encode("ascii") + b"=")
    if hash_on.url is not None:
        return _path if hash_on.url == "path" else _target
    return None


def _header_reader(lower_name: bytes) -> Callable[[Exchange], bytes]:
    if lower_name == b"host":
        # Taken out of the fields when the head is read; lower case, so that spellings do not part.
        return lambda exchange: exchange.host or exchange.connection.balance_key
    return lambda exchange: exchange.request.value(lower_name).strip(b" \t") or exchange.connection.balance_key


def _cookie_reader(prefix: bytes) -> Callable[[Exchange], bytes]:
    def read(exchange: Exchange) -> bytes:
        return cookie_value(exchange.request.value(b"cookie"), prefix) or exchange.connection.balance_key

    return read


def _path(exchange: Exchange) -> bytes:
    return exchange.request.path


def _target(exchange: Exchange) -> bytes:
    return exchange.request.target
