"""The file in which one worker counts, so that the numbers outlive it.

Owns:      taking a file, making records and room for them, setting a file aside that cannot be used.
Elsewhere: the layout (counter_format.py), what the numbers mean (counter_fields.py), who adds to them (counters.py),
           reading them from another process (counter_reader.py).

The kernel owns the pages, so whatever was written before a `kill -9` is there after it. Who holds the file's lock is
its only writer; the lock goes with the process. A worker takes the lowest file that is free and goes on where its
predecessor ended. Nothing that is wrong with a file keeps a worker from serving: it is renamed, told of, and a new one
begun; and where none can be had at all (a full disk), counting goes on in memory.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import uuid
from array import array
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from clb.metering.cells import NODE
from clb.metering.counter_fields import FIELDS, OTHER, ROLLED_UP, WIRE, Kind, field_index, parent_of, stored_key
from clb.metering.counter_format import (
    HEADER_BYTES,
    MAX_SEGMENTS,
    BadCounterFile,
    Header,
    Place,
    decode_header,
    encode_header,
    record_bytes,
    segment,
    segments_within,
    walk,
    write_record,
)
from clb.metering.lanes import lane_sums

SUFFIX = ".counters"
MAX_FILES = 1024
"""Workers of all generations that are alive at once."""
CROWDED_SEGMENTS = MAX_SEGMENTS - 1
"""With the last segment begun, what nobody counts in any more is worth being put together."""
_UNUSABLE = (errno.EACCES, errno.ELOOP, errno.EISDIR)
_IN_MEMORY = "counting goes on in memory and ends with the process"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_ALWAYS = ((Kind.NODE, NODE), *((kind, OTHER) for kind in (Kind.LISTENER, Kind.RULE, Kind.TARGET)))

Values = dict[tuple[Kind, str], list[int]]


class CounterFile:
    """Records by kind and name, in a file or (`path` None) in this process's memory alone."""

    def __init__(self, path: Path | None, descriptor: int, header: Header) -> None:
        self.path = path
        self.header = header
        self._descriptor = descriptor
        self._segments: list[memoryview] = []
        self._free_at = 0
        """In the last segment."""
        self._places: dict[tuple[Kind, str], tuple[int, Place]] = {}
        size = os.fstat(descriptor).st_size if path is not None else HEADER_BYTES
        for number in range(segments_within(size)):
            self._map(number)

    def record(self, kind: Kind, key: str) -> memoryview | None:
        """Return a record's counters (64-bit, in the order of `FIELDS`), made if need be; valid until `compact`.

        None: the file is as large as it may be, or the disk is full.
        """
        key = stored_key(kind, key)
        found = self._places.get((kind, key))
        if found is None:
            try:
                found = self.add(kind, key, [0] * len(FIELDS[kind]))
            except OSError:
                return None
        number, place = found
        return self._segments[number][place.counters_at : place.end].cast("Q")

    def add(self, kind: Kind, key: str, counters: Sequence[int]) -> tuple[int, Place]:
        """Make a record that is not there yet; returns its segment and place.

        Raises:
            OSError: the file is as large as it may be, or the disk is full.
        """
        data = key.encode()
        size = record_bytes(data, len(counters))
        if not self._segments or self._free_at + size > len(self._segments[-1]):
            self._grow()
        place = write_record(self._segments[-1], self._free_at, kind, data, counters)
        self._free_at = place.end
        found = self._places[kind, key] = len(self._segments) - 1, place
        return found

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self._places)

    @property
    def is_crowded(self) -> bool:
        """Tell whether `compact` is worth its while."""
        return len(self._segments) > CROWDED_SEGMENTS

    def values(self) -> Values:
        """Return a copy of everything."""
        return {
            key: self._segments[number][place.counters_at : place.end].cast("Q").tolist()
            for key, (number, place) in self._places.items()
        }

    def close(self) -> None:
        """Let another process have the file. Records stay valid, but nobody may write to them any more."""
        if self._descriptor >= 0:
            # Each mapping holds a copy of the descriptor, and the lock with it: closing would not do.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def _grow(self) -> None:
        number = len(self._segments)
        if number == MAX_SEGMENTS:
            raise OSError("the counter file is full")
        if self.path is not None:
            # Not just a longer file: a page for which the disk has no room would kill the process that touches it.
            os.posix_fallocate(self._descriptor, *segment(number))
        self._map(number)

    def _map(self, number: int) -> None:
        start, length = segment(number)
        if self.path is None:
            view = memoryview(bytearray(length))
        else:
            view = memoryview(mmap.mmap(self._descriptor, length, offset=start))
        self._segments.append(view)
        self._free_at = 0
        for place in walk(view, 0, length, self.header.fields):
            self._places[place.kind, place.key] = number, place
            self._free_at = place.end


def memory_file() -> CounterFile:
    """Return records that end with the process."""
    file = CounterFile(None, -1, Header(b"", 0, b"", FIELDS))
    for kind, key in _ALWAYS:
        file.record(kind, key)
    return file


def open_counter_file(directory: Path, report: Callable[[str], None]) -> CounterFile:
    """Take the lowest free file of the directory, or make one. `report` is told of what an operator should know."""
    for number in range(MAX_FILES):
        path = directory / f"worker-{number}{SUFFIX}"
        try:
            file = _open_at(path, report)
        except OSError as error:
            if error.errno in _UNUSABLE and os.path.lexists(path):
                report(f"{path}: {error.strerror}; another file is taken")
                continue
            report(f"{path}: {error.strerror or error}; {_IN_MEMORY}")
            return memory_file()
        if file is not None:
            return file
    report(f"{directory}: none of {MAX_FILES} files can be had; {_IN_MEMORY}")
    return memory_file()


def _open_at(path: Path, report: Callable[[str], None]) -> CounterFile | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # Another one took the file's place between the two calls.
    try:
        return _opened(path, descriptor)
    except BadCounterFile as error:
        aside = _set_aside(path)
        os.close(descriptor)
        report(f"{path}: {error}; renamed to {aside.name}, and counting begins anew")
        return _open_at(path, report)
    except OSError:
        os.close(descriptor)
        raise


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _opened(path: Path, descriptor: int) -> CounterFile:
    boot_id = _boot_id()
    if not os.fstat(descriptor).st_size:
        return _replace(path, descriptor, Header(uuid.uuid4().bytes, 1, boot_id, FIELDS), {})
    header = decode_header(os.pread(descriptor, HEADER_BYTES, 0))
    file = CounterFile(path, descriptor, header)
    if header.boot_id == boot_id and header.fields == FIELDS:
        return file
    epoch = header.epoch + (header.boot_id != boot_id)
    values: Values = {}
    for (kind, key), counters in file.values().items():
        if kind is Kind.LANES:
            _fold_lanes(values, (Kind.LISTENER, parent_of(kind, key)), counters)
        else:
            _add(values, kind, key, _translated(header, kind, counters))
    return _replace(path, descriptor, Header(header.uuid, epoch, boot_id, FIELDS), values)


def _translated(header: Header, kind: Kind, counters: list[int]) -> list[int]:
    """Put counters of another version's table into the places of this one's; a name that is gone goes."""
    named = dict(zip(header.fields[kind], counters, strict=True))
    return [named.get(name, 0) for name in FIELDS[kind]]


def _replace(path: Path, old_descriptor: int, header: Header, values: Values) -> CounterFile:
    """Write a whole new file and put it in the place of one that is ours; killed in between, the old one is there."""
    new = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, encode_header(header))
        file = CounterFile(path, descriptor, header)
        for (kind, key), counters in {**dict.fromkeys(_ALWAYS, ()), **values}.items():
            file.add(kind, key, counters or [0] * len(FIELDS[kind]))
        os.fsync(descriptor)  # Else a power cut could leave the new name without what it stands for.
        new.rename(path)
    except OSError:
        os.close(descriptor)
        new.unlink()
        raise
    os.close(old_descriptor)
    return file


def compact(file: CounterFile, in_use: Collection[tuple[Kind, str]]) -> CounterFile:
    """Return a file in the old one's place in which what nobody uses is added up in its rule, listener or `OTHER`.

    Nothing may be written to the old one's records any more.
    """
    used = {(kind, stored_key(kind, key)) for kind, key in in_use}
    kept: Values = {}
    for (kind, key), counters in file.values().items():
        if (kind, key) in used or (kind, key) in _ALWAYS:
            _add(kept, kind, key, counters)
        else:
            _fold(kept, used, kind, key, counters)
    if file.path is None:
        new = memory_file()
        for (kind, key), counters in kept.items():
            record = new.record(kind, key)
            assert record is not None  # the old one had room
            record[:] = array("Q", counters)
        return new
    new = _replace(file.path, file._descriptor, file.header, kept)
    file._descriptor = -1
    return new


def _fold(kept: Values, used: set[tuple[Kind, str]], kind: Kind, key: str, counters: list[int]) -> None:
    """Add a record's counters to others: what belongs to its rule or listener too goes there, the rest to `OTHER`."""
    if kind is Kind.LANES:
        listener = parent_of(kind, key)
        _fold_lanes(kept, (Kind.LISTENER, listener if (Kind.LISTENER, listener) in used else OTHER), counters)
        return
    rest = list(counters)
    if kind in ROLLED_UP:
        above, parent = Kind(kind - 1), parent_of(kind, key)
        moved = [0] * len(FIELDS[above])
        for name in ROLLED_UP[kind]:
            place = field_index(kind, name)
            moved[field_index(above, name)], rest[place] = counters[place], 0
        if (above, parent) in used:
            _add(kept, above, parent, moved)
        else:
            _fold(kept, used, above, parent, moved)
    _add(kept, kind, OTHER, rest)


def _fold_lanes(values: Values, listener: tuple[Kind, str], counters: list[int]) -> None:
    sums = dict(zip(WIRE, lane_sums(counters), strict=True))
    _add(values, *listener, [sums.get(name, 0) for name in FIELDS[Kind.LISTENER]])


def _add(values: Values, kind: Kind, key: str, counters: list[int]) -> None:
    before = values.get((kind, key))
    values[kind, key] = [a + b for a, b in zip(before, counters, strict=True)] if before is not None else counters


def _boot_id() -> bytes:
    try:
        return uuid.UUID(_BOOT_ID.read_text().strip()).bytes
    except (OSError, ValueError):
        return uuid.uuid4().bytes  # Not known, so it counts as another one.


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.unusable-{number}")).exists():
        number += 1
    return path.rename(aside)
