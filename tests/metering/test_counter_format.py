"""Headers and records: what is written can be read, and nothing else is taken for one."""

from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.metering.counter_fields import FIELDS, MAX_KEY_BYTES, Kind, stored_key
from clb.metering.counter_format import (
    FIRST_SEGMENT_BYTES,
    HEADER_BYTES,
    MAX_SEGMENTS,
    BadCounterFile,
    Header,
    decode_header,
    encode_header,
    record_bytes,
    segment,
    segments_within,
    walk,
    write_record,
)

HEADER = Header(b"u" * 16, 7, b"b" * 16, FIELDS)
KINDS = st.sampled_from(list(Kind))
RECORDS = st.lists(st.tuples(KINDS, st.text(max_size=100), st.integers(0, 1 << 63)), max_size=12)


def with_table(table: object) -> bytes:
    text = json.dumps(table).encode()
    data = bytearray(encode_header(HEADER))
    data[128:] = text.ljust(HEADER_BYTES - 128, b"\0")
    data[56:64] = struct.pack("@Q", len(text))
    return bytes(data)


def names(**changed: object) -> dict[str, object]:
    return {**{kind.name.lower(): list(FIELDS[kind]) for kind in Kind}, **changed}


def test_a_header_is_read_as_it_was_written() -> None:
    assert decode_header(encode_header(HEADER)) == HEADER
    assert len(encode_header(HEADER)) == HEADER_BYTES


def test_a_table_of_other_names_is_read() -> None:
    assert decode_header(with_table(names(rule=["a", "b"]))).fields[Kind.RULE] == ("a", "b")


BAD_HEADERS = {  # case: (bytes, what is said of them)
    "short": (b"CLBCOUNT", "a header has"),
    "foreign": (b"\x7fELF".ljust(HEADER_BYTES, b"\0"), "does not begin"),
    "blank": (bytes(HEADER_BYTES), "does not begin"),
    "newer": (encode_header(HEADER).replace(struct.pack("@Q", 1), struct.pack("@Q", 2), 1), "version 2"),
    "other_byte_order": (encode_header(HEADER).replace(struct.pack("<Q", 1), struct.pack(">Q", 1), 1), "version"),
    "no_table": (encode_header(HEADER)[:128].ljust(HEADER_BYTES, b"\0"), "cannot be read"),
    "no_names": (with_table([]), "no names for a node"),
    "no_kind": (with_table({}), "no names for a node"),
    "empty": (with_table(names(target=[])), "no names for a target"),
    "too_many": (with_table(names(target=[str(number) for number in range(1025)])), "no names for a target"),
    "twice": (with_table(names(rule=["a", "a"])), "twice"),
    "no_name": (with_table(names(rule=["a", 1])), "none"),
}


@pytest.mark.parametrize(("data", "said"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_what_is_no_header(data: bytes, said: str) -> None:
    with pytest.raises(BadCounterFile, match=said):
        decode_header(data)


def test_segments_double_and_touch() -> None:
    at = HEADER_BYTES
    for number in range(MAX_SEGMENTS):
        start, length = segment(number)
        assert (start, length) == (at, FIRST_SEGMENT_BYTES << number)
        assert segments_within(at) == segments_within(at + length - 1) == number
        at += length
    assert segments_within(at) == segments_within(1 << 40) == MAX_SEGMENTS
    assert segments_within(0) == 0


def write_all(records: list[tuple[Kind, str, int]]) -> tuple[bytearray, int]:
    buffer, at = bytearray(b"\xff" * FIRST_SEGMENT_BYTES), 0
    for kind, key, number in records:
        data = stored_key(kind, key).encode()
        # Free space begins with a commit word of 0 and goes on with anything.
        buffer[at : at + 8] = bytes(8)
        at = write_record(memoryview(buffer), at, kind, data, [number] * len(FIELDS[kind])).end
    buffer[at : at + 8] = bytes(8)
    return buffer, at


@given(RECORDS)
def test_records_are_found_as_they_were_written(records: list[tuple[Kind, str, int]]) -> None:
    buffer, end = write_all(records)
    found = list(walk(buffer, 0, len(buffer), FIELDS))
    assert [(place.kind, place.key) for place in found] == [(kind, stored_key(kind, key)) for kind, key, _ in records]
    for place, (kind, key, number) in zip(found, records, strict=True):
        counters = memoryview(buffer)[place.counters_at : place.end].cast("Q")
        assert list(counters) == [number] * len(FIELDS[kind])
        assert place.end - record_bytes(key.encode("utf-8", "backslashreplace"), len(counters)) <= place.counters_at
    assert (found[-1].end if found else 0) == end
    assert all(place.counters_at % 8 == 0 for place in found)


def test_a_segment_may_be_full_to_the_last_byte() -> None:
    size = record_bytes(b"key", len(FIELDS[Kind.RULE]))
    buffer = bytearray(size)
    write_record(memoryview(buffer), 0, Kind.RULE, b"key", [0] * len(FIELDS[Kind.RULE]))
    assert [place.end for place in walk(buffer, 0, size, FIELDS)] == [size]


def broken(at: int, value: bytes) -> bytes:
    buffer, _ = write_all([(Kind.RULE, "shop/https a.test/", 1)])
    buffer[at : at + len(value)] = value
    return bytes(buffer)


SIZE = record_bytes(b"shop/https a.test/", len(FIELDS[Kind.RULE]))
BROKEN = {
    "unknown_kind": broken(0, struct.pack("@Q", SIZE << 8 | 9)),
    "kind_zero": broken(0, struct.pack("@Q", SIZE << 8)),
    "another_kind": broken(0, struct.pack("@Q", SIZE << 8 | Kind.TARGET)),
    "another_size": broken(0, struct.pack("@Q", SIZE + 8 << 8 | Kind.RULE)),
    "another_key": broken(16, b"S"),
    "another_sum": broken(12, b"\0\0\0\0"),
    "endless_key": broken(8, struct.pack("@I", MAX_KEY_BYTES + 1000)),
}


@pytest.mark.parametrize("buffer", BROKEN.values(), ids=BROKEN)
def test_what_is_no_record(buffer: bytes) -> None:
    with pytest.raises(BadCounterFile, match="broken record"):
        list(walk(buffer, 0, len(buffer), FIELDS))


def test_a_record_does_not_reach_over_its_segment() -> None:
    buffer, end = write_all([(Kind.RULE, "shop/https a.test/", 1)])
    with pytest.raises(BadCounterFile, match="broken record"):
        list(walk(buffer, 0, end - 8, FIELDS))


def test_a_key_that_is_no_text_is_no_record() -> None:
    buffer = bytearray(FIRST_SEGMENT_BYTES)
    counters = [0] * len(FIELDS[Kind.RULE])
    with pytest.raises(UnicodeDecodeError):
        write_record(memoryview(buffer), 0, Kind.RULE, b"\xff", counters)
    with pytest.raises(BadCounterFile, match="broken record"):
        list(walk(buffer, 0, len(buffer), FIELDS))


@given(st.binary(max_size=400))
def test_anything_else_raises_nothing_else(data: bytes) -> None:
    with suppress(BadCounterFile):
        for place in walk(data, 0, len(data), FIELDS):
            assert place.end <= len(data)


@given(st.binary(max_size=300))
def test_no_header_raises_anything_else(data: bytes) -> None:
    start = encode_header(HEADER)
    for candidate in (data.ljust(HEADER_BYTES, b"\0"), start[:128] + data.ljust(HEADER_BYTES - 128, b" ")):
        with suppress(BadCounterFile):
            decode_header(candidate)
