"""Chunked bodies: the body, what lies behind it and the trailers, or the error; whole and in pieces."""

from __future__ import annotations

import h11
import pytest
from http1_lab import SLICES, WHOLE, decode_chunks
from hypothesis import example, given, settings
from hypothesis import strategies as st
from message_strategies import NASTY, mutated

from clb.errors import BadChunk, BadResponse, ClbError
from clb.http1.chunked import LAST_CHUNK, ChunkedDecoder, encode_chunk, encode_last_chunk

TRAILER_LIMIT = 16 * 1024

BODIES: dict[str, tuple[bytes, bytes, bytes]] = {  # case: (wire, body, trailer lines)
    "empty": (b"0\r\n\r\n", b"", b""),
    "one_chunk": (b"3\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    "two_chunks": (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", b""),
    "hexadecimal": (b"aA\r\n" + b"x" * 170 + b"\r\n0\r\n\r\n", b"x" * 170, b""),
    "leading_zeros": (b"00000003\r\nabc\r\n000000000000000\r\n\r\n", b"abc", b""),
    "fifteen_digits": (b"000000000000003\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    "data_that_looks_like_framing": (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n", b""),
    "data_with_every_byte": (b"100\r\n" + bytes(range(256)) + b"\r\n0\r\n\r\n", bytes(range(256)), b""),
    # Extensions are read and dropped (RFC 9112 section 7.1.1).
    "extension": (b"3;a\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    "extension_with_value": (b"3;a=b;c=d\r\nabc\r\n0;e=f\r\n\r\n", b"abc", b""),
    "extension_quoted": (b'3;a="b c;\\"\\\\\xe9"\r\nabc\r\n0\r\n\r\n', b"abc", b""),
    # Trailers (RFC 9112 section 7.1.2): what would have a meaning in the head is taken out.
    "trailer": (b"0\r\nX-Sum: 1\r\n\r\n", b"", b"X-Sum: 1\r\n"),
    "trailers": (b"1\r\na\r\n0\r\nX-Sum:1 \r\nEtag: \r\nX-Sum: 2\r\n\r\n", b"a", b"X-Sum: 1\r\nEtag: \r\nX-Sum: 2\r\n"),
    "trailers_host": (b"0\r\nHost: b\r\nX: y\r\nhost: c\r\n\r\n", b"", b"X: y\r\n"),
    "trailers_reserved": (
        b"0\r\nX-Forwarded-For: 1.2.3.4\r\nX-SSL-Client-Verify: SUCCESS\r\nX_Real_IP: 1\r\nVia: x\r\n\r\n",
        b"",
        b"",
    ),
    "trailers_hop_by_hop": (
        b"0\r\nConnection: close\r\nUpgrade: websocket\r\nTE: x\r\nKeep-Alive: 5\r\nExpect: 100-continue\r\n"
        + b"A: b\r\n\r\n",
        b"",
        b"A: b\r\n",
    ),
    "trailers_upgrade": (b"0\r\nConnection: upgrade\r\nUpgrade: websocket\r\nA: b\r\n\r\n", b"", b"A: b\r\n"),
}


@pytest.mark.parametrize("leftover", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n"])
@pytest.mark.parametrize("slice_size", [*SLICES, 3, 7])
@pytest.mark.parametrize(("wire", "body", "trailer_lines"), BODIES.values(), ids=BODIES)
def test_body(wire: bytes, body: bytes, trailer_lines: bytes, slice_size: int, leftover: bytes) -> None:
    decoder = ChunkedDecoder(BadChunk, TRAILER_LIMIT)
    assert decode_chunks(decoder, wire + leftover, slice_size) == (body, leftover)
    assert decoder.is_complete
    assert decoder.body_bytes == len(body)
    assert decoder.trailer_lines == trailer_lines


@pytest.mark.parametrize("slice_size", SLICES)
@pytest.mark.parametrize("wire", [case[0] for case in BODIES.values()], ids=list(BODIES))
def test_no_body_is_complete_before_its_last_byte(wire: bytes, slice_size: int) -> None:
    decoder = ChunkedDecoder(BadChunk, TRAILER_LIMIT)
    decode_chunks(decoder, wire[:-1], slice_size)
    assert not decoder.is_complete


REFUSED: dict[str, bytes] = {
    "no_size": b"\r\nabc\r\n",
    "size_not_hexadecimal": b"g\r\n",
    "size_with_sign": b"+3\r\nabc\r\n",
    "size_below_zero": b"-1\r\n",
    "size_with_prefix": b"0x3\r\nabc\r\n",
    "size_with_underscore": b"1_0\r\n",
    "size_over_60_bits": b"1000000000000000\r\n",
    "size_over_64_bits": b"10000000000000003\r\nabc\r\n",
    "forty_leading_zeros": b"0" * 40 + b"3\r\nabc\r\n",
    "white_space_before_size": b" 3\r\nabc\r\n",
    "white_space_behind_size": b"3 \r\nabc\r\n",
    "tab_behind_size": b"3\t\r\nabc\r\n",
    "white_space_before_extension": b"3 ;a\r\nabc\r\n",
    "white_space_in_extension": b"3; a\r\nabc\r\n",
    "white_space_around_equals": b"3;a = b\r\nabc\r\n",
    "extension_without_name": b"3;\r\nabc\r\n",
    "extension_without_value": b"3;a=\r\nabc\r\n",
    "extension_not_closed": b'3;a="b\r\nabc\r\n',
    "control_byte_in_extension": b"3;a\0\r\nabc\r\n",
    "carriage_return_in_extension": b"3;a\rb\r\nabc\r\n",
    "line_feed_in_quoted_extension": b'3;a="\n"\r\nabc\r\n',
    "line_feed_behind_size": b"3\nabc\r\n",
    "line_feed_behind_extension": b"3;a\nabc\r\n",
    "carriage_return_behind_size": b"3\rabc\r\n",
    "line_feed_behind_data": b"3\r\nabc\n0\r\n\r\n",
    "nothing_behind_data": b"3\r\nabc0\r\n\r\n",
    "carriage_return_behind_data": b"3\r\nabc\r0\r\n\r\n",
    "more_data_than_size": b"3\r\nabcd\r\n0\r\n\r\n",
    "line_feed_ends_the_body": b"0\r\n\n",
    "line_feed_in_trailers": b"0\r\nA: b\nC: d\r\n\r\n",
    "line_feed_ends_trailers": b"0\r\nA: b\r\n\n",
    "length_among_trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "coding_among_trailers": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "coding_among_trailers_in_capitals": b"0\r\nA: b\r\nTRANSFER-ENCODING: gzip, chunked\r\n\r\n",
    "trailer_without_colon": b"0\r\nA\r\n\r\n",
    "space_before_colon": b"0\r\nA : b\r\n\r\n",
    "folded_trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "nul_in_trailer": b"0\r\nA: \0\r\n\r\n",
    "request_for_trailers": b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("error", [BadChunk, BadResponse])
@pytest.mark.parametrize("slice_size", [*SLICES, 3])
@pytest.mark.parametrize("wire", REFUSED.values(), ids=REFUSED)
def test_refused(wire: bytes, slice_size: int, error: type[ClbError]) -> None:
    with pytest.raises(error) as caught:
        # Some are lines of which only the end shows that they are none.
        decode_chunks(ChunkedDecoder(error, TRAILER_LIMIT), wire + b"\r\n\r\n", slice_size)
    assert type(caught.value) is error


# --- bounds ---


@pytest.mark.parametrize("slice_size", [1, WHOLE])
def test_size_line_at_its_bound(slice_size: int) -> None:
    longest = b"1;" + b"a" * (4096 - 4) + b"\r\nx\r\n0\r\n\r\n"
    assert decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), longest, slice_size) == (b"x", b"")
    with pytest.raises(BadChunk):
        decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), b"1;a" + longest[2:], slice_size)
    with pytest.raises(BadChunk):  # without waiting for its end
        decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), b"1;" + b"a" * 4096, slice_size)


@pytest.mark.parametrize("slice_size", [1, WHOLE])
def test_trailers_at_their_bound(slice_size: int) -> None:
    trailers = b"A: " + b"b" * (100 - 7) + b"\r\n\r\n"
    assert len(trailers) == 100
    wire = b"0\r\n" + trailers
    assert decode_chunks(ChunkedDecoder(BadChunk, 100), wire, slice_size) == (b"", b"")
    with pytest.raises(BadChunk):
        decode_chunks(ChunkedDecoder(BadChunk, 99), wire, slice_size)
    with pytest.raises(BadChunk):
        decode_chunks(ChunkedDecoder(BadChunk, 99), wire[:-1], slice_size)


@pytest.mark.parametrize("slice_size", [1, 5, 1000, WHOLE])
def test_extensions_may_not_outweigh_the_body(slice_size: int) -> None:
    chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    few = decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), chunk * 16 + LAST_CHUNK, slice_size)
    assert few == (b"x" * 16, b"")
    with pytest.raises(BadChunk):
        decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), chunk * 17 + LAST_CHUNK, slice_size)


@pytest.mark.parametrize("slice_size", [1, 5, 1000, WHOLE])
def test_the_smallest_chunks_are_a_body(slice_size: int) -> None:
    body = b"x" * 10_000
    wire = b"".join(b"00000001\r\n%c\r\n" % byte for byte in body) + LAST_CHUNK
    assert decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), wire, slice_size) == (body, b"")


@pytest.mark.parametrize("slice_size", [1, 5, 1000, WHOLE])
def test_the_bound_on_framing_counts_the_usual_chunk_as_any_other(slice_size: int) -> None:
    """At the very bound, where a chunk without extensions is cut or comes whole."""
    chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    # 16 chunks of 1004 framing bytes for 16 of body leave 16384 + 256 - 16064 = 576.
    filler = b"0000001;" + b"a" * (576 + 16 - 10) + b"\r\ny\r\n"
    wire = chunk * 16 + filler + b"00000001\r\nz\r\n"
    body, _ = decode_chunks(ChunkedDecoder(BadChunk, TRAILER_LIMIT), wire, slice_size)
    assert body == b"x" * 16 + b"yz"


# --- written and read again; and beside h11 ---


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.binary(max_size=20), st.integers(1, 50))
def test_what_is_written_is_read(pieces: list[bytes], leftover: bytes, slice_size: int) -> None:
    wire = b"".join(map(encode_chunk, pieces)) + encode_last_chunk(b"X-Sum: 1\r\n") + leftover
    decoder = ChunkedDecoder(BadChunk, TRAILER_LIMIT)
    assert decode_chunks(decoder, wire, slice_size) == (b"".join(pieces), leftover)
    assert decoder.trailer_lines == b"X-Sum: 1\r\n"
    assert encode_last_chunk(b"") == LAST_CHUNK


_CHUNKS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=20).map(encode_chunk),
        st.sampled_from(
            [b"3;a=b\r\nabc\r\n", b'3;a="b\\""\r\nabc\r\n', b"0003\r\nabc\r\n", b"A\r\n0\r\n\r\n0\r\n\r\n\r\n"]
        ),
    ),
    max_size=5,
).map(b"".join)
_ENDS = st.sampled_from([LAST_CHUNK, b"0;a\r\n\r\n", b"000\r\nA: b\r\n\r\n", b"0\r\nHost: a\r\nX_Y: z\r\n\r\n", b""])
_WIRES = st.tuples(_CHUNKS, _ENDS).map(b"".join)


def h11_body(wire: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """Return body, leftover and names of the trailers, as h11 finds them."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=WHOLE)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA, "h11 finds no end"
        body += bytes(getattr(event, "data", b""))
    return body, connection.trailing_data[0], [name for name, _ in event.headers]


@settings(deadline=None, max_examples=400)
@given(st.one_of(_WIRES, mutated(_WIRES)), st.sampled_from([b"", *NASTY]), st.integers(1, 12))
@example(b"3\r\nabc\r\n0\r\n\r\n", b"\r\n", 1)
def test_what_is_accepted_h11_reads_in_the_same_way(chunks: bytes, leftover: bytes, slice_size: int) -> None:
    wire = chunks + leftover
    decoder, cut = ChunkedDecoder(BadChunk, TRAILER_LIMIT), ChunkedDecoder(BadChunk, TRAILER_LIMIT)
    try:
        read = decode_chunks(decoder, wire)
    except BadChunk:
        with pytest.raises(BadChunk):
            decode_chunks(cut, wire, slice_size)
        return
    assert decode_chunks(cut, wire, slice_size) == read
    assert (cut.is_complete, cut.trailer_lines) == (decoder.is_complete, decoder.trailer_lines)
    if decoder.is_complete:
        body, trailing, names = h11_body(wire)
        assert (body, trailing) == read
        kept = [line.split(b":")[0].lower() for line in decoder.trailer_lines.split(b"\r\n")[:-1]]
        assert set(kept) <= set(names)
