"""What a client may do on one connection that ends in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger_client import Client
from ledger_real_server import body_of
from tls_lab import VERSIONS


def request(path: str, *fields: str, method: str = "GET", host: str = "a.test", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def upload(size: int, *fields: str) -> bytes:
    return request("/echo-size", f"Content-Length: {size}", *fields, method="POST") + body_of(size)


CHUNKED_UPLOAD = (
    request("/echo-size", "Transfer-Encoding: chunked", method="POST")
    + b"5;a=b\r\nhello\r\n4000\r\n"
    + body_of(0x4000)
    + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
)
UPGRADE = request("/upgrade", "Connection: Upgrade", "Upgrade: websocket")


@dataclass(frozen=True)
class Shape:
    """`first` is sent, in the segment of the client's last flight if `early`; then `play` does the rest."""

    first: bytes
    play: Callable[[Client], None]
    early: bool = False
    says_goodbye: bool = True


def expect(*answers: tuple[int, int], method: str = "GET") -> Callable[[Client], None]:
    """Read answers: status and size of the body, a size of -1 being clb's own page."""

    def play(client: Client) -> None:
        for status, size in answers:
            answer = client.read_answer(method)
            assert answer.status == status
            assert size == -1 or answer.body == body_of(size)

    return play


def expect_sizes(*sizes: int) -> Callable[[Client], None]:
    """Read answers to uploads of these sizes."""

    def play(client: Client) -> None:
        for size in sizes:
            assert client.read_answer().body == b"%d" % size

    return play


def _keep_alive(client: Client) -> None:
    expect((200, 1))(client)
    for size in (0, 100, 16_384, 20_000):
        client.send(request(f"/bytes/{size}"))
        expect((200, size))(client)


def _no_bodies(client: Client) -> None:
    expect((200, 0), method="HEAD")(client)
    client.send(request("/empty"))
    expect((204, 0))(client)
    client.send(request("/interim"))
    expect((200, 0))(client)


def _continue(client: Client) -> None:
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    client.send(body_of(5000))
    expect_sizes(5000)(client)


def _half_close(client: Client) -> None:
    """The client has said goodbye and sends no more, and still gets its answer."""
    client.say_goodbye()
    client.shut_down()
    expect((200, 50_000))(client)


def _goodbye_behind_the_request(client: Client) -> None:
    client.say_goodbye(behind=request("/bytes/1000"))
    client.shut_down()
    expect((200, 1000))(client)


def _own_replies(client: Client) -> None:
    expect((301, -1))(client)
    client.send(request("/", host="down.test"))
    expect((502, -1))(client)


def _tunnel(client: Client) -> None:
    assert client.read_answer().status == 101
    for size in (1, 125, 70_000):
        client.send(body_of(size))
        assert client.read_exactly(size) == body_of(size)


def _to_the_end(status: int, size: int) -> Callable[[Client], None]:
    """Read an answer behind which clb closes."""

    def play(client: Client) -> None:
        expect((status, size))(client)
        assert client.read_to_end() == b""

    return play


SHAPES = {
    "nothing": Shape(b"", lambda client: None),
    "no_body": Shape(request("/bytes/0"), expect((200, 0))),
    "no_body_early": Shape(request("/bytes/0"), expect((200, 0)), early=True),
    "100_kb_early": Shape(request("/bytes/100001"), expect((200, 100_001)), early=True),
    "without_goodbye": Shape(request("/bytes/300"), expect((200, 300)), says_goodbye=False),
    "keep_alive": Shape(request("/bytes/1"), _keep_alive),
    "pipelined": Shape(
        request("/bytes/1") + request("/bytes/70000") + request("/bytes/2"), expect((200, 1), (200, 70_000), (200, 2))
    ),
    "pipelined_early": Shape(request("/bytes/5") * 20, expect(*[(200, 5)] * 20), early=True),
    "chunked": Shape(request("/chunked/30001"), expect((200, 30_001))),
    "until_close": Shape(request("/until-close/40000"), expect((200, 40_000))),
    "no_bodies": Shape(request("/bytes/7", method="HEAD"), _no_bodies),
    "http_1_0": Shape(request("/until-close/20000", version="1.0"), _to_the_end(200, 20_000), says_goodbye=False),
    "connection_close": Shape(request("/bytes/9", "Connection: close"), _to_the_end(200, 9), says_goodbye=False),
    "uploads": Shape(upload(0) + upload(1) + upload(16_385) + upload(100_000), expect_sizes(0, 1, 16_385, 100_000)),
    "upload_early": Shape(upload(1000), expect_sizes(1000), early=True),
    "upload_in_chunks": Shape(CHUNKED_UPLOAD, expect_sizes(0x4005), early=True),
    "continue": Shape(request("/echo-size", "Content-Length: 5000", "Expect: 100-continue", method="POST"), _continue),
    "half_close": Shape(request("/bytes/50000"), _half_close, says_goodbye=False),
    "goodbye_behind_the_request": Shape(b"", _goodbye_behind_the_request, says_goodbye=False),
    "own_replies": Shape(request("/elsewhere"), _own_replies),
    "refused": Shape(b"GET / HTTP/1.1\r\n\r\n", _to_the_end(400, -1), early=True),
    "tunnel": Shape(UPGRADE, _tunnel, early=True),
}


def play(client: Client, shape: Shape) -> None:
    """Everything from the handshake to the last FIN."""
    if client.ssl_object is None:
        client.send(shape.first)
    elif shape.early:
        client.shake_hands(shape.first)
    else:
        client.shake_hands(wait_for_tickets=client.ssl_object.context.maximum_version == VERSIONS["TLSv1.3"])
        if shape.first:
            client.send(shape.first)
    shape.play(client)
    if shape.says_goodbye and client.ssl_object is not None:
        client.say_goodbye()
    client.finish()
