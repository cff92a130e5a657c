"""Requests for hypothesis: built by the grammar, or valid ones with a few bytes changed."""

from __future__ import annotations

from hypothesis import strategies as st

from clb.http1.request import METHODS

NASTY = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b":",
    b",", b";", b'"', b"_", b"-", b"%", b"#", b"/", b"?", b"@", b"\\", b"0", b"1", b"5", b"+", b"x", b"chunked",
    b"close", b"Host: b\r\n", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: ",
    b"Upgrade: websocket\r\n", b"GET /other HTTP/1.1\r\nHost: other\r\n\r\n",
]  # fmt: skip

_methods = st.one_of(st.sampled_from([b"GET", b"POST", b"OPTIONS"]), st.sampled_from(sorted(METHODS)))
_targets = st.sampled_from(
    [
        b"/",
        b"/a/b?c=d&e[]=f",
        b"//x",
        b"/%2e%2e/%00",
        b"/?http://u@v/",
        b"*",
        b"http://b.example:81/c?d",
        b"HTTPS://[::1]",
    ]
)
_versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"])
_padding = st.sampled_from([b" ", b" ", b" ", b"", b"\t", b"  \t"])
_hosts = st.sampled_from([b"a", b"A.Example:8443", b"[::1]:80", b"127.0.0.1", b"a_b.example."])
_framing = st.sampled_from(
    [
        (b"Content-Length", b"5"),
        (b"content-length", b"0"),
        (b"Content-Length", b"0044"),
        (b"Content-Length", b"123456789012"),
        (b"Transfer-Encoding", b"chunked"),
        (b"transfer-encoding", b"Chunked"),
    ]
)
_connection = st.lists(
    st.sampled_from([b"keep-alive", b"close", b"Upgrade", b"X-Private", b"Host", b"Content-Length", b"X-Real-IP", b"",
                     b"te"]),
    min_size=1, max_size=4,
).map(lambda members: (b"Connection", b", ".join(members)))  # fmt: skip
_others = st.sampled_from(
    [
        (b"Accept", b"*/*"), (b"Cookie", b"a=1; b=2"), (b"cookie", b"c=3"), (b"X-Private", b"secret"),
        (b"X-Empty", b""),
        (b"X-Text", b"caf\xc3\xa9 \t x"), (b"X_Real_IP", b"6.6.6.6"), (b"X-Forwarded-For", b"6.6.6.6"),
        (b"x-real-ip", b"6.6.6.6"),
        (b"X-SSL-Client-Verify", b"SUCCESS"), (b"Via", b"1.0 x"), (b"Expect", b"100-continue"), (b"TE", b"trailers"),
        (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"), (b"Keep-Alive", b"timeout=5"), (b"Trailer", b"X-End"),
        (b"X-Like", b"Connection: close"), (b"Proxy-Connection", b"close"),
    ]
)  # fmt: skip


@st.composite
def grammatical(draw: st.DrawFn) -> bytes:
    """A head that follows the grammar; what it says may still be refused."""
    fields = draw(st.lists(_others, max_size=6))
    if draw(st.integers(0, 9)):
        fields.append((b"Host", draw(_hosts)))
    fields += draw(st.lists(_framing, max_size=1))
    fields += draw(st.lists(_connection, max_size=2))
    lines = b"".join(
        name + b":" + draw(_padding) + value + draw(st.sampled_from([b"", b"", b"", b" "])) + b"\r\n"
        for name, value in draw(st.permutations(fields))
    )
    return b"%b %b %b\r\n%b\r\n" % (draw(_methods), draw(_targets), draw(_versions), lines)


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """A message with a few bytes put in, replaced or taken out."""
    message = draw(originals)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(message)))
        length = draw(st.sampled_from([0, 0, 1, 2]))
        message = message[:start] + draw(st.sampled_from([b"", *NASTY])) + message[start + length :]
    return message


REQUESTS = st.one_of(grammatical(), mutated(grammatical()))
