"""Hand bytes to a library that only takes a path, without a file.

Owns:      the one way in which a decrypted key reaches OpenSSL.
Elsewhere: where the bytes come from (certificates/, service/); swap space, which is the operator's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(data: bytes) -> Iterator[str]:
    """A path that reads as `data` while the block runs and only in this process.

    The path leads to our own descriptor, so it stays readable after PR_SET_DUMPABLE=0 and a change of user.
    """
    descriptor = os.memfd_create("clb", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
