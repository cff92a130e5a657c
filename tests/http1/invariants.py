"""What must hold for every request that clb accepts; shared by the property tests and the fuzz targets."""

from __future__ import annotations

from http1_lab import MARKER, Message, body_for, forwarded_head, h11_requests, llhttp_requests

from clb.http1.fields import HOP_BY_HOP, is_reserved, list_members
from clb.http1.request import CHUNKED, RequestHead

_OWN = {b"host", b"content-length", b"transfer-encoding", b"expect", b"connection", b"upgrade"}
"""What clb writes anew: a client's Connection cannot name these away."""


def check_agreement(head: bytes, request: RequestHead) -> None:
    """h11 reads the same request in the client's own bytes, and it ends where clb says."""
    body = body_for(request)
    follows = MARKER if request.keep_alive and request.minor_version else b""  # h11 ends every 1.0 connection
    first, *others = h11_requests(head + body + follows)
    assert (first.method, first.target) == (request.method, head.split(b" ", 2)[1])
    assert _framing(first) == request.content_length
    assert _named_host(first) == request.host_field
    if _is_whole(request, body):
        assert first.is_complete
        assert [message.target for message in others] == ([b"/marker"] if follows else [])
    else:
        assert not first.is_complete
        assert not others


def check_forwarded(head: bytes, request: RequestHead) -> None:
    """What the real server gets is one request for every reader, and holds nothing that only clb may say."""
    body = body_for(request)
    wire = forwarded_head(request) + body + MARKER
    for read in (h11_requests, llhttp_requests):
        messages = read(wire)
        first = messages[0]
        assert (first.method, first.target) == (request.method, request.target)
        assert _framing(first) == request.content_length
        assert [value.rstrip(b" \t") for value in first.values(b"host")] == [request.host_field]
        if _is_whole(request, body):
            assert first.is_complete
            assert [message.target for message in messages[1:]] == [b"/marker"], read.__name__
            assert first.body == (MARKER * 2 if request.content_length == CHUNKED else body)
        else:
            assert not first.is_complete
            assert len(messages) == 1
        _check_names(h11_requests(head)[0], first, request)


def _check_names(client: Message, server: Message, request: RequestHead) -> None:
    names = [name.lower() for name, _ in server.fields]
    assert not [name for name in names if is_reserved(name)]
    ended = HOP_BY_HOP - {b"connection", b"upgrade"} if request.upgrade else HOP_BY_HOP
    assert not ended.intersection(names)
    named = {member for value in client.values(b"connection") for member in list_members(value)}
    assert not (named - _OWN).intersection(names)
    for name in _OWN:
        assert names.count(name) <= 1


def _framing(message: Message) -> int:
    codings, lengths = message.values(b"transfer-encoding"), message.values(b"content-length")
    assert len(codings) + len(lengths) <= 1
    return CHUNKED if codings else int((lengths or [b"0"])[0])


def _named_host(message: Message) -> bytes:
    scheme, separator, rest = message.target.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        return rest.partition(b"/")[0].partition(b"?")[0]
    return (message.values(b"host") or [b""])[0]


def _is_whole(request: RequestHead, body: bytes) -> bool:
    return request.content_length == CHUNKED or len(body) == request.content_length
