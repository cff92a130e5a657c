"""The desync guard: what the second opinion is asked, when, and what follows from a disagreement."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from message_strategies import REQUESTS
from test_request import ACCEPTED

from clb.errors import AmbiguousRequest, BadRequest
from clb.http1 import request as request_module
from clb.http1.guard import SAMPLE, DesyncGuard
from clb.http1.request import RequestHead, read_request_head

HEAD = b"POST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"


def test_how_often_each_mode_asks() -> None:
    assert [DesyncGuard(mode, 1000).interval for mode in ("off", "monitor", "enforce")] == [0, SAMPLE, 1]
    assert SAMPLE == 1024


@pytest.mark.parametrize("head", [case[0] + b"\r\n" for case in ACCEPTED.values()], ids=list(ACCEPTED))
def test_agreement(head: bytes) -> None:
    guard = DesyncGuard("enforce", 64 * 1024)
    guard.check(head, read_request_head(head, 100))
    assert (guard.checked, guard.disagreements) == (1, 0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_no_generated_request_is_ambiguous(head: bytes) -> None:
    head = head[: head.find(b"\r\n\r\n") + 4]
    if not head:
        return
    try:
        request = read_request_head(head, 100)
    except BadRequest:
        return
    DesyncGuard("enforce", 64 * 1024).check(head, request)


def changed(**facts: object) -> RequestHead:
    """Return what a reader would have said of HEAD that is wrong in one point."""
    request = read_request_head(HEAD, 100)
    for name, value in facts.items():
        setattr(request, name, value)
    return request


DISAGREEMENTS = {  # case: (head, reading, what the text names)
    "method": (HEAD, changed(method=b"PUT"), "method differs"),
    "version": (HEAD, changed(minor_version=0), "version differs"),
    "framing": (HEAD, changed(content_length=0), "framing differs"),
    "host": (HEAD, changed(host_field=b"b.example"), "host differs"),
    "two_points": (HEAD, changed(content_length=6, host_field=b"b"), "framing differs; host differs"),
    "target": (HEAD.replace(b" /a", b"  /a"), changed(), "h11 refuses it: illegal request line"),
    "absolute_target": (HEAD.replace(b"/a", b"http://b.example/a"), changed(), "host differs"),
    "chunked": (HEAD.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"), changed(), "framing differs"),
    "not_complete": (HEAD[:-2], changed(), "h11 finds no complete head"),
}


@pytest.mark.parametrize(("head", "request_head", "text"), DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_disagreement(head: bytes, request_head: RequestHead, text: str) -> None:
    enforcing, monitoring = DesyncGuard("enforce", 1000), DesyncGuard("monitor", 1000)
    with pytest.raises(AmbiguousRequest, match=text):
        enforcing.check(head, request_head)
    monitoring.check(head, request_head)
    for guard in (enforcing, monitoring):
        assert (guard.checked, guard.disagreements) == (1, 1)


def test_a_real_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    """llhttp takes `gzip, chunked` for chunked, and h11 refuses it: were clb's own check lost, the guard is there."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    with pytest.raises(BadRequest):
        read_request_head(head, 100)
    monkeypatch.setattr(request_module, "_check_codings", lambda codings: None)
    request = read_request_head(head, 100)
    with pytest.raises(AmbiguousRequest, match="h11 refuses it") as caught:
        DesyncGuard("enforce", 1000).check(head, request)
    assert caught.value.client_status == 400


def test_a_head_at_the_bound_is_read() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 100_000)
    DesyncGuard("enforce", len(head)).check(head, read_request_head(head, 100))
