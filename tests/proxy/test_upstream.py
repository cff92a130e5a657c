"""One connection to a real server: where its answers end, and what may stand behind them."""

from __future__ import annotations

import threading

import pytest
from raw_client import request
from real_server import WAIT_S, RealServer

OVERLONG = {  # case: (what comes first, what comes later, the body)
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"cdeHTTP/1.1 200 OK\r\n\r\nevil", b"abcde"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"3\r\ncde\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
        b"abcde",
    ),
}


@pytest.mark.parametrize(("first", "later", "body"), OVERLONG.values(), ids=OVERLONG)
def test_bytes_behind_the_end_of_an_answer_are_dropped_with_their_connection(serve, closing, first, later, body):
    go_on = threading.Event()

    def script(conversation):
        conversation.read_request()
        conversation.send(first)
        go_on.wait(WAIT_S)
        conversation.send(later)
        conversation.read_to_end()

    server = closing.enter_context(RealServer(script=script))
    closing.callback(go_on.set)
    client = serve(targets=[server.port]).connect()
    client.send(request())
    client.sock.recv(1, 2)  # MSG_PEEK: the first part has arrived.
    go_on.set()
    assert client.read_answer().body == body
    assert client.ask().body == body
    assert len(server.conversations) == 2


def test_repeated_heads_are_read_as_what_they_are(serve, closing):
    """The same head again, with another body, in one piece or two; then another head."""
    same = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    other = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    answers = [same + b"one", same + b"two", other, same + b"six", other]

    def script(conversation):
        for wire in answers:
            conversation.read_request()
            for piece in (wire[:10], wire[10:-1], wire[-1:]):
                conversation.send(piece)

    server = closing.enter_context(RealServer(script=script))
    client = serve(targets=[server.port]).connect()
    told = [(answer.status, answer.body) for answer in (client.ask() for _ in answers)]
    assert told == [(200, b"one"), (200, b"two"), (404, b""), (200, b"six"), (404, b"")]


def test_a_head_answer_behind_the_same_head_has_no_body(serve, closing):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"

    def script(conversation):
        while True:
            got = conversation.read_head()
            conversation.send(head if got.startswith(b"HEAD ") else head + b"abc")

    server = closing.enter_context(RealServer(script=script))
    client = serve(targets=[server.port]).connect()
    assert [client.ask(method=method).body for method in ("GET", "HEAD", "GET", "HEAD")] == [b"abc", b"", b"abc", b""]
    assert len(server.conversations) == 1
