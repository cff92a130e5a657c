"""Read what all workers have counted, from outside and without a lock, and add it up.

Owns:      following the files of a directory as they grow, come and are replaced; the sums by name.
Elsewhere: writing them (counter_file.py), the layout (counter_format.py), the names (counter_fields.py).

A number is one load of the machine, so none is torn; numbers of one record are read within a microsecond or so, but
not as of one instant. All of them only grow, so no sum of them ever falls while the files are there.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from clb.metering.cells import NODE
from clb.metering.counter_fields import FIELDS, ROLLED_UP, WIRE, Kind, parent_of
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

Counts = dict[str, int]
"""Counters by name (`FIELDS`)."""


@dataclass(slots=True)
class Totals:
    """Sums over all files, by name; what was never counted is not there."""

    node: Counts = field(default_factory=dict)
    listeners: dict[str, Counts] = field(default_factory=dict)
    """Their `requests_...` have those of their rules in them."""
    rules: dict[str, Counts] = field(default_factory=dict)
    """What their targets answered is in them: requests and HTTP bytes."""
    targets: dict[str, Counts] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Files that could not be read, and why."""


class FileView:
    """One file, followed: what is read again is what may have changed."""

    def __init__(self, path: Path) -> None:
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
        self._walked_to: list[int] = []
        """For each segment, where its records ended when it was looked at."""

    def follow(self) -> None:
        """Find records that have been made since the last time.

        Raises:
            BadCounterFile: something is there that is no record.
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

    def records(self) -> Iterator[tuple[Kind, str, tuple[int, ...]]]:
        """Return every record's counters as of now, in the order of `header.fields`."""
        for place in self._places:
            words = _words(place.count)
            values = words.unpack_from(self._map, place.counters_at)
            if place.kind is Kind.LANES:
                again = words.unpack_from(self._map, place.counters_at)
                while versions(values) != versions(again):  # A connection took a lane over in between.
                    values, again = again, words.unpack_from(self._map, place.counters_at)
            yield place.kind, place.key, values

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._descriptor)


class CounterReader:
    """All files of one directory; keep it, and what it found once need not be found again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._views: dict[str, FileView] = {}
        self.faults: list[str] = []

    def files(self) -> list[FileView]:
        """Return the files that are there now; `faults` says which of them cannot be read, and why."""
        self.faults = []
        try:
            paths = sorted(path for path in self._directory.iterdir() if path.suffix == SUFFIX)
        except OSError as error:
            self.faults.append(f"{self._directory}: {error.strerror}")
            return []
        for name in self._views.keys() - {path.name for path in paths}:
            self._views.pop(name).close()
        views = []
        for path in paths:
            try:
                view = self._view(path)
            except (OSError, BadCounterFile) as error:
                self.faults.append(f"{path}: {error}")
                continue
            if view is not None:
                views.append(view)
        return views

    def read(self) -> Totals:
        """Add everything up."""
        tables: dict[Kind, dict[str, Counts]] = {kind: {} for kind in Kind}
        for view in self.files():
            for kind, key, values in view.records():
                if kind is Kind.LANES:
                    values, key = tuple(lane_sums(values)), parent_of(kind, key)
                    _add(tables[Kind.LISTENER], key, WIRE, values)
                else:
                    _add(tables[kind], key, view.header.fields[kind], values)
        for kind in ROLLED_UP:
            _roll_up(tables, kind)
        return Totals(
            tables[Kind.NODE].get(NODE, {}),
            tables[Kind.LISTENER],
            tables[Kind.RULE],
            tables[Kind.TARGET],
            self.faults,
        )

    def close(self) -> None:
        """Let go of all files."""
        while self._views:
            self._views.popitem()[1].close()

    def _view(self, path: Path) -> FileView | None:
        status = path.stat()
        if not status.st_size:
            return None  # A worker is about to fill it.
        view = self._views.get(path.name)
        if view is None or view.identity != (status.st_dev, status.st_ino):
            if view is not None:
                self._views.pop(path.name).close()
            view = self._views[path.name] = FileView(path)
        view.follow()
        return view


def _add(table: dict[str, Counts], key: str, names: tuple[str, ...], values: tuple[int, ...]) -> None:
    counts = table.get(key)
    if counts is None:
        table[key] = dict(zip(names, values, strict=True))
        return
    for name, value in zip(names, values, strict=True):
        counts[name] = counts.get(name, 0) + value


def _roll_up(tables: dict[Kind, dict[str, Counts]], kind: Kind) -> None:
    """Add what is counted once, below, to rules or to listeners."""
    above = Kind(kind - 1)
    for key, counts in tables[kind].items():
        for name in ROLLED_UP[kind]:
            if value := counts.get(name, 0):
                parent = tables[above].setdefault(parent_of(kind, key), dict.fromkeys(FIELDS[above], 0))
                parent[name] = parent.get(name, 0) + value


@lru_cache(maxsize=64)
def _words(count: int) -> struct.Struct:
    # Native, or `struct` would put each number together from single bytes, and a reader could see a torn one.
    return struct.Struct(f"@{count}Q")
