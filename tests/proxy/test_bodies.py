"""Every framing of a body, both ways, and the answers that have none."""

from __future__ import annotations

import threading

import pytest
from raw_client import request
from real_server import OK, WAIT_S, RealServer

PROTOCOLS = pytest.mark.parametrize("protocol", ["https", "http"])
CHUNKED = "Transfer-Encoding: chunked\r\n"
MIB = 1 << 20


@PROTOCOLS
@pytest.mark.parametrize("size", [1, 1000, 16_384, 16_385, 65_536, 5 * MIB], ids=str)
def test_a_body_of_known_length_arrives_as_it_was_sent(serve, real_server, protocol, size):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    for _ in range(2):
        assert client.ask(method="POST", body=body).status == 200
    assert [received for _, received in real_server.requests] == [body, body]
    assert real_server.heads[0].lower().count(b"content-length: %d\r\n" % size) == 1


@PROTOCOLS
@pytest.mark.parametrize("size", [0, 1, 1000, 16_384, 65_536, 5 * MIB], ids=str)
def test_an_answer_of_known_length_arrives_as_it_was_sent(serve, closing, protocol, size):
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    server = closing.enter_context(RealServer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    for _ in range(2):
        answer = client.ask()
        assert answer.body == body
        assert answer.one(b"content-length") == b"%d" % size
    assert len(server.conversations) == 1


@PROTOCOLS
def test_a_chunked_body_arrives_chunked_with_its_trailers(serve, real_server, protocol):
    client = serve(protocol=protocol, targets=[real_server.port]).connect(protocol)
    client.send(request(method="POST", fields=CHUNKED + "Trailer: X-Sum\r\n"))
    client.send(b"5;name=value\r\nhello\r\n")
    client.send(b"6\r\n world\r")
    client.send(b"\n0\r\nX-Sum: 7\r\nHost: evil\r\nX-Real-IP: 6.6.6.6\r\n\r\n")
    assert client.read_answer().status == 200
    head, body = real_server.requests[0]
    assert b"\r\ntransfer-encoding: chunked\r\n" in head.lower()
    assert b"\r\ntrailer: x-sum\r\n" in head.lower()
    assert body == b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n"
    assert client.ask("/next").status == 200


def test_a_chunked_body_that_comes_byte_by_byte(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    wire = request(method="PUT", fields=CHUNKED) + b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n"
    for position in range(len(wire)):
        client.send(wire[position : position + 1])
    assert client.read_answer().status == 200
    body = real_server.requests[0][1]
    assert b"0\r\nA: b\r\n\r\n" in body
    assert sum(len(line) for line in body.split(b"\r\n") if line[:1] in b"abc0123456789") >= 19


CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
CHUNKED_END = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n"


@PROTOCOLS
@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "byte_by_byte"])
def test_a_chunked_answer_arrives_with_its_trailers(serve, closing, protocol, in_pieces):
    def script(conversation):
        for _ in range(2):
            conversation.read_request()
            wire = CHUNKED_ANSWER + CHUNKED_END
            for start in range(0, len(wire), 1 if in_pieces else len(wire)):
                conversation.send(wire[start : start + (1 if in_pieces else len(wire))])

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    for _ in range(2):
        answer = client.ask()
        assert (answer.body, answer.trailers) == (b"hello world", [(b"X-Sum", b"7")])
        assert answer.all(b"transfer-encoding") == [b"chunked"]
        assert answer.all(b"connection") == []
    assert len(server.conversations) == 1


@PROTOCOLS
def test_pieces_of_an_answer_pass_while_it_is_not_complete(serve, closing, protocol):
    seen = threading.Semaphore(0)

    def script(conversation):
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            conversation.send(b"1\r\n%d\r\n" % number)
            assert seen.acquire(timeout=WAIT_S)
        conversation.send(b"0\r\n\r\n")

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    client.send(request())
    client.read_until(b"\r\n\r\n")
    for number in range(3):
        assert client.read(6) == b"1\r\n%d\r\n" % number
        seen.release()
    assert client.read(5) == b"0\r\n\r\n"


@PROTOCOLS
def test_an_answer_that_ends_with_its_connection_becomes_chunked(serve, closing, protocol):
    def script(conversation):
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        conversation.send(b" world" * 50_000)

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    for _ in range(2):
        answer = client.ask()
        assert answer.all(b"transfer-encoding") == [b"chunked"]
        assert answer.body == b"hello" + b" world" * 50_000
    assert len(server.conversations) == 2


@pytest.mark.parametrize("fields", ["", "Connection: keep-alive\r\n"], ids=["plain", "keep_alive"])
@pytest.mark.parametrize("answer", [b"\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])
def test_an_http_1_0_client_gets_such_an_answer_to_the_end_of_its_connection(serve, closing, fields, answer):
    server = closing.enter_context(
        RealServer(script=lambda c: (c.read_request(), c.send(b"HTTP/1.1 200 OK\r\n" + answer)))
    )
    client = serve(targets=[server.port]).connect()
    client.send(f"GET / HTTP/1.0\r\nHost: shop.example.com\r\n{fields}\r\n".encode())
    received = client.read_to_end()
    head, _, body = received.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"chunked" not in head.lower()
    assert b"connection: close" in head.lower()


def test_an_http_1_0_client_may_keep_its_connection(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    for _ in range(3):
        client.send(b"GET / HTTP/1.0\r\nHost: shop.example.com\r\nConnection: keep-alive\r\n\r\n")
        answer = client.read_answer()
        assert (answer.body, answer.one(b"connection")) == (b"ok", b"keep-alive")
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.read_to_end().endswith(b"\r\n\r\nok")
    assert real_server.heads[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"\r\nX-Client-Proto-Ver: HTTP/1.0\r\n" in real_server.heads[0]


BODILESS = {  # case: (method, answer, status)
    "head_with_length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 200),
    "head_with_chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
    "head_without_framing": ("HEAD", b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", 200),
    "no_content": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "no_content_with_length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204),
    "not_modified": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1000\r\n\r\n', 304),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
}


@PROTOCOLS
@pytest.mark.parametrize(("method", "answer", "status"), BODILESS.values(), ids=BODILESS)
def test_an_answer_without_a_body_is_followed_by_the_next(serve, closing, protocol, method, answer, status):
    server = closing.enter_context(RealServer(answer))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    for _ in range(3):
        received = client.ask(method=method)
        assert (received.status, received.body) == (status, b"")
    if status == 204:
        assert received.all(b"content-length") == []
    elif b"Content-Length" in answer:
        assert received.one(b"content-length") in answer
    assert len(server.conversations) == 1


@PROTOCOLS
def test_interim_answers_pass_in_order(serve, closing, protocol):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    server = closing.enter_context(RealServer(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + hints + OK))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    for _ in range(2):
        client.send(request())
        assert [client.read_answer().status for _ in range(4)] == [100, 103, 103, 200]
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.read_to_end().startswith(b"HTTP/1.1 200 OK\r\n")


@PROTOCOLS
def test_the_real_server_decides_on_an_expectation(serve, closing, protocol):
    def script(conversation):
        head = conversation.read_head()
        assert b"\r\nExpect: 100-continue\r\n" in head
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert conversation.read(5) == b"hello"
        conversation.send(OK)
        conversation.read_head()
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    client.send(request(method="POST", fields="Expect: 100-continue\r\nContent-Length: 5\r\n"))
    assert client.read_answer().status == 100
    client.send(b"hello")
    assert client.read_answer().status == 200
    assert client.ask("/next").status == 200


def test_an_expectation_that_the_real_server_declines_ends_the_connection(serve, closing):
    server = closing.enter_context(RealServer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", script=None))
    server.script = lambda c: (c.read_head(), c.send(server.answer), c.read_to_end())
    client = serve(targets=[server.port]).connect()
    client.send(request(method="POST", fields="Expect: 100-continue\r\nContent-Length: 5\r\n"))
    answer = client.read_answer()
    assert (answer.status, answer.one(b"connection")) == (413, b"close")
    assert client.read_to_end() == b""


def test_an_expectation_of_something_else_is_refused(serve, real_server):
    client = serve(targets=[real_server.port]).connect()
    assert client.ask(method="POST", fields="Expect: the-unexpected\r\n", body=b"x").status == 417
    assert real_server.requests == []
