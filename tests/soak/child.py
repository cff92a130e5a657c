"""Start one of this folder's client programs, which say when they are at work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def child(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run it, wait for its first line, and end its input at the end."""
    path = Path(__file__).with_name(program)
    process = subprocess.Popen(
        [sys.executable, str(path), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() != "", f"{program} ended at once"
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)
