"""One client's connection: order, keep-alive, ends of either side, and what a slow client costs."""

from __future__ import annotations

import pytest
from raw_client import request

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
SHARED = "Accept: */*\r\nUser-Agent: test\r\n"


@PROTOCOLS
def test_a_request_is_answered_and_the_connection_goes_on(serve, real_server, protocol):
    proxy = serve(protocol=protocol, targets=[real_server.port])
    client = proxy.connect(protocol)
    for number in range(5):
        assert client.ask(f"/{number}").body == b"ok"
    assert [head.split()[1] for head in real_server.heads] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert len(real_server.conversations) == 1


def test_repeated_fields_behind_an_absolute_target_are_a_request_like_any_other(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask("/a", fields=SHARED).status == 200
    assert client.ask("http://other.example.com/b", fields=SHARED).status == 200
    assert real_server.heads[1].startswith(b"GET /b HTTP/1.1\r\nHost: other.example.com\r\n")


@PROTOCOLS
def test_pipelined_requests_before_the_end_of_input_are_all_answered(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    client.send(request("/0") + request("/1") + request("/2"))
    client.end()
    answers = [client.read_answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert client.read_to_end() == b""
