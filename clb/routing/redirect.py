"""Write the Location of a redirect.

Owns:      what of the request's URL a redirect keeps, and that the result leads where the rule says.
Elsewhere: the answer around it (proxy/replies.py); which rule redirects (routing/router.py).
Pure:      same rule, same request, same Location.

The Location is always a whole URL whose authority is the rule's or the request's Host, so that no path, not
even `//elsewhere.example`, can be read as another host.
"""

from __future__ import annotations

import re

from clb.config.models import Redirect
from clb.errors import BadHost

_DEFAULT_PORTS = {b"http": 80, b"https": 443}

# Targets and rules are checked before they come here; this is the last wall against a split header, a
# backslash that browsers take for `/`, or markup in a page that quotes the URL.
_sub_unsafe = re.compile(rb"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%\[\]]").sub


def redirect_location(
    redirect: Redirect, scheme: bytes, host: bytes, port: int | None, path_and_query: bytes
) -> bytes | None:
    """The URL to send the client to; None if that is the URL it asked for, which would never end.

    `scheme`, `host` and `port` are the client's: the listener's scheme, and Host as `split_host` gives it
    (port None: the scheme's own). BadHost if the rule names no host and the client sent none.
    """
    new_host = redirect.host.encode("ascii") if redirect.host else host
    if not new_host:
        raise BadHost("a redirect needs a host, and the request names none")
    new_scheme = redirect.scheme.encode("ascii") if redirect.scheme else scheme
    new_port = redirect.port or (None if redirect.scheme else port)
    location = _url(new_scheme, new_host, new_port, _path(redirect, path_and_query))
    return None if location == _url(scheme, host, port, path_and_query) else location


def slash_location(scheme: bytes, host: bytes, port: int | None, path: bytes, query: bytes) -> bytes:
    """The URL for a SlashRedirect; `query` keeps its `?`."""
    if not host:
        raise BadHost("a redirect needs a host, and the request names none")
    return _url(scheme, host, port, path + query)


def _path(redirect: Redirect, path_and_query: bytes) -> bytes:
    if redirect.path is not None:
        return redirect.path.encode("ascii")
    # `OPTIONS *` has no path to keep.
    return path_and_query if redirect.keep_path and path_and_query.startswith(b"/") else b"/"


def _url(scheme: bytes, host: bytes, port: int | None, path_and_query: bytes) -> bytes:
    authority = host if port is None or port == _DEFAULT_PORTS[scheme] else b"%s:%d" % (host, port)
    return b"%s://%s%s" % (scheme, authority, _sub_unsafe(_escape, path_and_query))


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
