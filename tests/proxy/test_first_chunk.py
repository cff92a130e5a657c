"""An answer whose very first chunk is none: nothing of it has been sent, so the client is told properly."""

from __future__ import annotations

import pytest
from real_server import RealServer


@pytest.mark.parametrize("protocol", ["https", "http"])
def test_a_broken_first_chunk_is_a_bad_gateway(serve, closing, protocol):
    server = closing.enter_context(
        RealServer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n")
    )
    client = serve(protocol=protocol, targets=[server.port]).connect(protocol)
    assert client.ask().status == 502
    assert client.ask("/next").status == 502
    assert len(server.conversations) == 2
