"""Read what all workers have counted, from outside and without a lock, and add it up.

Owns:      following the files of a directory as they grow, come and are replaced; the sums by name.
Elsewhere: writing them (counter_file.py), the layout (counter_format.py), the names (counter_fields.py).

A number is one load of the machine, so none is torn; numbers of one record are read within a microsecond or so, but
not as of one instant. All of them only grow, so no sum of them ever falls while the files are there. Most records do
not change from one look to the next: they are found by comparing bytes, and sums are carried on.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clb.metering.cells import NODE
from clb.metering.counter_fields import WIRE, Kind
from clb.metering.counter_file import SUFFIX
from clb.metering.counter_format import (
    HEADER_BYTES,
    BadCounterFile,
    Header,
    Place,
    decode_header,
    segment,
    segments_within,
    walk,
)
from clb.metering.lanes import lane_sums, versions
from clb.metering.rolled_up import Counts, RolledUp

_BLOCK = 64
"""So many records are compared at once."""


@dataclass(slots=True)
class Totals:
    """Sums over all files, by name. They are carried on by the next `read`."""

    node: Counts
    listeners: dict[str, Counts]
    """Their `requests_...` have those of their rules in them."""
    rules: dict[str, Counts]
    """What their targets answered is in them: requests and HTTP bytes."""
    targets: dict[str, Counts]
    faults: list[str]
    """Files that could not be read, and why."""


class FileView:
    """One file, followed."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OSError: it cannot be read.
            BadCounterFile: it is no counter file of this version.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            self.identity = status.st_dev, status.st_ino
            self.header: Header = decode_header(os.pread(descriptor, HEADER_BYTES, 0))
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, HEADER_BYTES, access=mmap.ACCESS_READ)
        self._places: list[Place] = []
        """In the order of the file."""
        self._walked_to: list[int] = []
        """For each segment, where its records ended when it was looked at."""
        self._seen = b""
        """The file as it was at the last look. Copied as bytes, so for a comparison only: numbers may be torn."""
        self._values: list[Sequence[int]] = []

    def follow(self) -> None:
        """Find records that have been made since the last time.

        Raises:
            BadCounterFile: something is there that is no record; those before it were found.
        """
        size = self._map.size()
        if size > len(self._map):
            self._map.close()
            self._map = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        for number in range(segments_within(size)):
            start, length = segment(number)
            if number == len(self._walked_to):
                self._walked_to.append(start)
            for place in walk(self._map, self._walked_to[number], start + length, self.header.fields):
                self._places.append(place)
                self._walked_to[number] = place.end

    def growth(self) -> Iterator[tuple[Kind, str, Sequence[int]]]:
        """Return what has grown since the last call, and by how much: counters in the order of `header.fields`.

        Lanes are added up, in the order of `WIRE`. What is new is there even if it is all zeros.
        """
        now, seen = self._map[:], self._seen
        for first in range(0, len(self._places), _BLOCK):
            block = self._places[first : first + _BLOCK]
            start, end = block[0].counters_at, block[-1].end
            if first + len(block) <= len(self._values) and now[start:end] == seen[start:end]:
                continue
            for number, place in enumerate(block, first):
                if number == len(self._values):
                    self._values.append((0,) * (len(WIRE) if place.kind is Kind.LANES else place.count))
                elif now[place.counters_at : place.end] == seen[place.counters_at : place.end]:
                    continue
                before, values = self._values[number], self._read(place)
                self._values[number] = values
                yield place.kind, place.key, [new - old for new, old in zip(values, before, strict=True)]
        self._seen = now

    def forget(self) -> None:
        """Take everything for new."""
        self._seen, self._values = b"", []

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._descriptor)

    def _read(self, place: Place) -> Sequence[int]:
        words = _words(place.count)
        values = words.unpack_from(self._map, place.counters_at)
        if place.kind is not Kind.LANES:
            return values
        again = words.unpack_from(self._map, place.counters_at)
        while versions(values) != versions(again):  # A connection took a lane over in between.
            values, again = again, words.unpack_from(self._map, place.counters_at)
        return lane_sums(values)


class CounterReader:
    """All files of one directory; keep it, and what it found once need not be found again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._views: dict[str, FileView] = {}
        self._summed: list[FileView] = []
        self._sums = RolledUp()
        self.faults: list[str] = []

    def files(self) -> list[FileView]:
        """Return the files that are there now; `faults` says what of them cannot be read, and why."""
        self.faults = []
        try:
            paths = sorted(path for path in self._directory.iterdir() if path.suffix == SUFFIX)
        except OSError as error:
            self.faults.append(f"{self._directory}: {error.strerror}")
            paths = []
        for name in self._views.keys() - {path.name for path in paths}:
            self._views.pop(name).close()
        return [view for path in paths if (view := self._view(path)) is not None]

    def read(self) -> Totals:
        """Add everything up."""
        views = self.files()
        if views != self._summed:
            self._summed, self._sums = views, RolledUp()
            for view in views:
                view.forget()
        for view in views:
            self._sums.take(view)
        self._sums.changed.clear()
        tables = self._sums.tables
        node = tables[Kind.NODE].get(NODE, {})
        return Totals(node, tables[Kind.LISTENER], tables[Kind.RULE], tables[Kind.TARGET], self.faults)

    def close(self) -> None:
        """Let go of all files."""
        while self._views:
            self._views.popitem()[1].close()
        self._summed = []

    def _view(self, path: Path) -> FileView | None:
        try:
            status = path.stat()
            if not status.st_size:
                return None  # A worker is about to fill it.
            view = self._views.get(path.name)
            if view is None or view.identity != (status.st_dev, status.st_ino):
                if view is not None:
                    self._views.pop(path.name).close()
                view = self._views[path.name] = FileView(path)
        except (OSError, BadCounterFile) as error:
            self.faults.append(f"{path}: {error}")
            return None
        try:
            view.follow()
        except BadCounterFile as error:
            self.faults.append(f"{path}: {error}")
        return view


@lru_cache(maxsize=64)
def _words(count: int) -> struct.Struct:
    # Native, or `struct` would put each number together from single bytes, and a reader could see a torn one.
    return struct.Struct(f"@{count}Q")
