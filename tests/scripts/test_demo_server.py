from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import demo_server
import pytest


@pytest.fixture
def demo_connection() -> Iterator[HTTPConnection]:
    with demo_server.DemoServer("demo-7", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


REQUESTS = {  # case: (method, body, body bytes that the answer names)
    "get": ("GET", None, 0),
    "post_with_length": ("POST", b"x" * 100_000, 100_000),
    "put_chunked": ("PUT", iter([b"abc", b"defgh"]), 8),
    "delete": ("DELETE", None, 0),
}


@pytest.mark.parametrize(("method", "body", "body_bytes"), REQUESTS.values(), ids=REQUESTS)
def test_demo_server_says_what_it_was_asked(
    demo_connection: HTTPConnection, method: str, body: bytes | Iterator[bytes] | None, body_bytes: int
) -> None:
    for path in ("/a?b=c", "/second"):  # the same connection again: the first body was read to its end
        chunked = body is not None and not isinstance(body, bytes)
        demo_connection.request(method, path, body, {"X-Probe": "1"}, encode_chunked=chunked)
        answer = demo_connection.getresponse().read().decode().splitlines()
        assert answer[0] == "real server: demo-7"
        expected_bytes = 0 if chunked and path == "/second" else body_bytes
        assert answer[1] == f"{method} {path} (body: {expected_bytes} bytes)"
        assert "X-Probe: 1" in answer


def test_demo_server_answers_head_without_a_body(demo_connection: HTTPConnection) -> None:
    demo_connection.request("HEAD", "/")
    response = demo_connection.getresponse()
    assert int(response.headers["Content-Length"]) > 0
    assert response.read() == b""
