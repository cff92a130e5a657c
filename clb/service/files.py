"""Read the files that a configuration points to, carefully.

Owns:      bounds and kinds of files; who else may read a private key.
Elsewhere: what is in them (certificates/).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from clb.certificates.pem import MAXIMUM_BYTES

_OTHERS = stat.S_IROTH | stat.S_IWOTH


class FileFault(Exception):
    """A file that cannot be read, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read, and whether everybody on the machine could have."""

    data: bytes = field(repr=False)
    is_open_to_all: bool


class Files:
    """Reads each file once, so that all checks of one load see the same bytes."""

    def __init__(self) -> None:
        self._known: dict[Path, Contents | FileFault] = {}

    def read(self, path: Path) -> Contents:
        """The contents, or `FileFault`."""
        if path not in self._known:
            try:
                self._known[path] = _read(path)
            except FileFault as fault:
                self._known[path] = fault
        known = self._known[path]
        if isinstance(known, FileFault):
            raise FileFault(str(known))
        return known

    def data(self, path: Path) -> bytes:
        """The contents, empty if there are none to be had."""
        try:
            return self.read(path).data
        except FileFault:
            return b""


def _read(path: Path) -> Contents:
    """A regular file; one byte beyond the bound at most, so that who checks the size sees the excess."""
    try:
        # Non-blocking: a FIFO under this name must not stop the start of a service.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise FileFault("it is no regular file")
            return Contents(file.read(MAXIMUM_BYTES + 1), bool(mode & _OTHERS))
    except OSError as error:
        raise FileFault((error.strerror or type(error).__name__).lower()) from None
