"""A memory file of many small records, any of which can be read alone.

Owns:      the layout, and that nobody can change a file once it is written.
Elsewhere: what the records are (bundle_files.py).

A reader takes a record when it has time for one, and sees by its digest, without reading it, whether it is one that
it has already. Processes share the file by its descriptor, hence its position, so it is read by mapping it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct

_MAGIC = b"clb-rec1"
_COUNT = Struct("<8sI")
_ENTRY = Struct("<c16sQQ")
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Record:
    """One entry to be written."""

    tag: bytes
    """One byte, the reader's to understand."""
    digest: bytes
    """Same digest, same thing."""
    data: bytes


def digest(*parts: bytes) -> bytes:
    """Return a name for content."""
    hashed = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.digest()


def write_records(records: Iterable[Record]) -> int:
    """Return the descriptor of a new memory file, sealed."""
    entries = list(records)
    position = _COUNT.size + len(entries) * _ENTRY.size
    head = [_COUNT.pack(_MAGIC, len(entries))]
    for record in entries:
        head.append(_ENTRY.pack(record.tag, record.digest, position, len(record.data)))
        position += len(record.data)
    memory = os.memfd_create("clb-records", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(memory, "wb", closefd=False) as file:
        file.writelines(head)
        file.writelines(record.data for record in entries)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    return memory


class Records:
    """Reads such a file; a context manager, since what is mapped stays in memory."""

    def __init__(self, memory: int) -> None:
        self._map = mmap.mmap(memory, 0, mmap.MAP_SHARED, mmap.PROT_READ)
        magic, count = _COUNT.unpack_from(self._map)
        self._count: int = count
        if magic != _MAGIC:
            self._map.close()
            raise ValueError("the file holds no records")

    def __len__(self) -> int:
        return self._count

    def entry(self, number: int) -> tuple[bytes, bytes]:
        """Tag and digest."""
        tag, name, _, _ = _ENTRY.unpack_from(self._map, _COUNT.size + number * _ENTRY.size)
        return tag, name

    def data(self, number: int) -> bytes:
        """Return the content."""
        _, _, start, size = _ENTRY.unpack_from(self._map, _COUNT.size + number * _ENTRY.size)
        return self._map[start : start + size]

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()
