"""How a counter file looks: header, table of names, records.

Owns:      every offset in the file, what makes a file unusable, and finding the records in one.
Elsewhere: who may write (counter_file.py), adding files up (counter_reader.py), what is counted (counter_fields.py).
Pure:      bytes in, places out.

    0       magic, version, UUID, epoch, boot id, length of the table
    128     the table: names of the counters of each kind, JSON
    16384   segments of 64, 128, 256 ... KiB; each is mapped by itself, so growing moves nothing
            each with records: commit word (8), key word (8), key (padded to 8), counters (8 each)

Integers are the machine's own, so each is loaded and stored in one piece and no reader sees a torn one; a file of
another byte order has an unknown version. The commit word (size and kind) is stored last: while it is 0 nothing
is there, and the segment's records end. Numbers are added to in place for ever after.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clb.metering.counter_fields import MAX_KEY_BYTES, Kind

MAGIC: Final = b"CLBCOUNT"
VERSION: Final = 1
HEADER_BYTES: Final = 16 * 1024
FIRST_SEGMENT_BYTES: Final = 64 * 1024
MAX_SEGMENTS: Final = 9
"""32 MiB, more than 100,000 rules and targets; mapping a segment costs a descriptor, hence few that double."""
_TABLE_AT: Final = 128
_HEADER: Final = struct.Struct("@8sQ16sQ16sQ")
_RECORD: Final = struct.Struct("@QQ")
_COMMIT: Final = struct.Struct("@Q")
_MAX_COUNTERS: Final = 1024
_MAX_IDENTITY_BYTES: Final = 128


class BadCounterFile(Exception):
    """Not a file that this version can use; the text says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    uuid: bytes
    epoch: int
    """Counts the boots of the machine that the file was written in. Only from one epoch to the next can a number
    be lower than a reader saw it once: a power cut takes what the kernel had not written to the disk."""
    boot_id: bytes
    fields: Mapping[Kind, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is, in the buffer that was walked."""

    kind: Kind
    key: str
    counters_at: int
    count: int
    end: int


def encode_header(header: Header) -> bytes:
    """Return the first bytes of a file, the table included."""
    table = json.dumps({kind.name.lower(): names for kind, names in header.fields.items()}).encode("ascii")
    fixed = _HEADER.pack(MAGIC, VERSION, header.uuid, header.epoch, header.boot_id, len(table))
    data = fixed.ljust(_TABLE_AT, b"\0") + table
    assert len(data) <= HEADER_BYTES  # our own names
    return data.ljust(HEADER_BYTES, b"\0")


def decode_header(data: bytes) -> Header:
    """Read a file's first `HEADER_BYTES`.

    Raises:
        BadCounterFile: they are no header of this version.
    """
    if len(data) < HEADER_BYTES:
        raise BadCounterFile(f"{len(data)} bytes, a header has {HEADER_BYTES}")
    magic, version, uuid, epoch, boot_id, length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadCounterFile("it does not begin as a counter file does")
    if version != VERSION:
        raise BadCounterFile(f"layout version {version}, this program knows {VERSION}")
    try:
        table = json.loads(data[_TABLE_AT : _TABLE_AT + length])
    except ValueError:
        raise BadCounterFile("its table of names cannot be read") from None
    return Header(uuid, epoch, boot_id, _checked_table(table))


def _checked_table(table: Any) -> Mapping[Kind, tuple[str, ...]]:
    fields = {}
    for kind in Kind:
        names = table.get(kind.name.lower()) if isinstance(table, dict) else None
        if not isinstance(names, list) or not 0 < len(names) <= _MAX_COUNTERS:
            raise BadCounterFile(f"its table has no names for a {kind.name.lower()}")
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise BadCounterFile(f"its table has a name of a {kind.name.lower()} twice, or one that is none")
        fields[kind] = tuple(names)
    return fields


def segment(number: int) -> tuple[int, int]:
    """Return where a segment begins in the file and how long it is."""
    return HEADER_BYTES + FIRST_SEGMENT_BYTES * ((1 << number) - 1), FIRST_SEGMENT_BYTES << number


def segments_within(size: int) -> int:
    """Return how many whole segments a file of so many bytes has; one that is being added may be there in part."""
    count = 0
    while count < MAX_SEGMENTS and sum(segment(count)) <= size:
        count += 1
    return count


def record_bytes(key: bytes, counters: int) -> int:
    """Return the size of a record."""
    return _RECORD.size + _padded(len(key)) + counters * 8


def write_record(buffer: memoryview, at: int, kind: Kind, key: bytes, counters: Sequence[int]) -> Place:
    """Write a record into free space and then make it visible."""
    size = record_bytes(key, len(counters))
    counters_at = at + size - len(counters) * 8
    # Whoever was killed while writing here left anything behind; only the commit word is surely 0.
    body = struct.pack(f"@Q{_padded(len(key))}s{len(counters)}Q", zlib.crc32(key) << 32 | len(key), key, *counters)
    buffer[at + _COMMIT.size : at + size] = body
    _COMMIT.pack_into(buffer, at, size << 8 | kind)
    return Place(kind, key.decode(), counters_at, len(counters), at + size)


def walk(buffer: Any, start: int, end: int, fields: Mapping[Kind, tuple[str, ...]]) -> Iterator[Place]:
    """Find the records between two places of a segment, up to the first free space.

    Raises:
        BadCounterFile: something is there that is no record.
    """
    while start + _RECORD.size <= end:
        commit, key_word = _RECORD.unpack_from(buffer, start)
        if not commit:
            return
        place = _read_place(buffer, start, commit, key_word, fields)
        if place is None or place.end > end:
            raise BadCounterFile(f"a broken record at byte {start} of a segment")
        yield place
        start = place.end


def _read_place(
    buffer: Any, start: int, commit: int, key_word: int, fields: Mapping[Kind, tuple[str, ...]]
) -> Place | None:
    size, length = commit >> 8, key_word & 0xFFFFFFFF
    try:
        kind = Kind(commit & 0xFF)
    except ValueError:
        return None
    counters = len(fields[kind])
    if length > MAX_KEY_BYTES + _MAX_IDENTITY_BYTES or size != _RECORD.size + _padded(length) + counters * 8:
        return None
    key = bytes(buffer[start + _RECORD.size : start + _RECORD.size + length])
    if zlib.crc32(key) != key_word >> 32:
        return None
    try:
        return Place(kind, key.decode(), start + size - counters * 8, counters, start + size)
    except UnicodeDecodeError:
        return None


def _padded(length: int) -> int:
    return length + 7 & ~7
