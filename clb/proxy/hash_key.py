"""What of a request decides where a rule with `scheduler: maglev` sends it.

Owns:      reading the key that `hash_on` names.
Elsewhere: what is made of it (balancing/maglev.py); the client's address (connection.py).
"""

from __future__ import annotations

from collections.abc import Callable

from clb.balancing.cookies import cookie_value
from clb.config.models import HashOn
from clb.http1.request import RequestHead

KeyReader = Callable[[RequestHead, bytes], bytes]
"""Takes a request's head and its client's address, and returns what is hashed."""


def key_reader(hash_on: HashOn) -> KeyReader | None:
    """Return what reads the key of a request; None where it is the client's address, which needs no reading.

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


def _header_reader(lower_name: bytes) -> KeyReader:
    if lower_name == b"host":
        # Taken out of the fields when the head is read; lower case, so that spellings do not part.
        return lambda request, source: request.host or source
    return lambda request, source: request.value(lower_name).strip(b" \t") or source


def _cookie_reader(prefix: bytes) -> KeyReader:
    return lambda request, source: cookie_value(request.value(b"cookie"), prefix) or source


def _path(request: RequestHead, source: bytes) -> bytes:
    return request.path


def _target(request: RequestHead, source: bytes) -> bytes:
    return request.target
