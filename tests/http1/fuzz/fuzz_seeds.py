"""Where fuzzing begins: the messages of the tables, and the words that protocols turn on."""

from __future__ import annotations

import test_chunked
import test_request
import test_response
from message_strategies import NASTY

CUT = b"\x00\x50\xff"
"""Pieces of 1, 21 and 64 bytes."""

_REQUESTS = [head + b"\r\n" for head, _, _ in test_request.ACCEPTED.values()]
_REQUESTS += [head for head, _ in test_request.REFUSED.values()]
_BODIES = [wire for wire, _, _ in test_chunked.BODIES.values()] + list(test_chunked.REFUSED.values())
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_THREE = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
_THREE += b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
_THREE += b"GET /c HTTP/1.1\r\nHost: a\r\n\r\n"

SEEDS: dict[str, list[bytes]] = {
    "requests": [CUT + message for message in [*_REQUESTS, _THREE, *[_CHUNKED_HEAD + body for body in _BODIES]]],
    "responses": [
        CUT + message
        for message in [
            *[head + b"\r\n" for _, head, _, _ in test_response.ACCEPTED.values()],
            *test_response.REFUSED.values(),
        ]
    ],
    "chunks": [CUT + body for body in _BODIES],
}

WORDS = [
    *NASTY,
    *[
        b"GET ",
        b"POST ",
        b"OPTIONS * ",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"http://b/",
        b"Host: a\r\n",
        b"Connection: close\r\n",
    ],
    *[b"Content-Length: ", b"Transfer-Encoding: ", b"gzip, ", b"identity", b"X-Forwarded-For: 1\r\n", b"X_Y: z\r\n"],
    *[
        b"Expect: 100-continue\r\n",
        b"Connection: upgrade\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 \r\n",
        b"0\r\n\r\n",
    ],
    *[b"3\r\nabc\r\n", b"3;a=b\r\nabc\r\n", b";a", b'="', b"ffffffff", b"000000000000000000", b"Set-Cookie: a\r\n"],
]
