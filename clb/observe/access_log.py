"""The access log: one line per exchange, buffered, never in the way of the data path.

Owns:      the buffer, its bound, what happens when lines cannot be written, rotation.
Elsewhere: the text of a line (access_line.py); how bytes leave (log_sink.py).
Shell:     writes with os.write from `record` and `flush`, on the caller's thread.

There is no writer thread. A flush copies 64 KiB into the page cache or a pipe, some tens of microseconds per
hundred lines; a thread would have to take the interpreter lock for it and pay two switches. The price: a file
on a disk that the kernel throttles can hold up the worker. A slow write is reported, and docs/access-log.md
says to log to standard output or a FIFO there.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from clb.observe.access_line import LineFormat
from clb.observe.access_record import FIELDS, AccessRecord, ConnectionRecord
from clb.observe.access_style import JSON, TENCENT, Style
from clb.observe.log_sink import STDOUT, Sink, open_sink
from clb.observe.logging import fields

__all__ = [
    "FIELDS",
    "STDOUT",
    "AccessLog",
    "AccessLogger",
    "AccessRecord",
    "ConnectionRecord",
    "NullAccessLog",
    "open_access_log",
]

FLUSH_BYTES: Final = 64 * 1024
MAX_BUFFER_BYTES: Final = 4 * 1024 * 1024
REPORT_INTERVAL_S: Final = 60.0
SLOW_WRITE_S: Final = 0.05
"""A worker that stood still for this long is something to tell."""

STYLES: dict[str, Style] = {"tencent": TENCENT, "json": JSON}

_logger = logging.getLogger(__name__)


class AccessLogger(Protocol):
    """What the data path and the process around it see of an access log."""

    def record(self, record: AccessRecord) -> None: ...
    def flush(self) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class NullAccessLog:
    """`format: off`."""

    def record(self, record: AccessRecord) -> None: ...
    def flush(self) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class AccessLog:
    """Lines to one sink. Invariant: every line recorded is written, buffered or counted as dropped."""

    def __init__(
        self,
        line: Callable[[AccessRecord], bytes],
        open_sink: Callable[[], Sink],
        clock: Callable[[], float] = time.monotonic,
        max_buffer_bytes: int = MAX_BUFFER_BYTES,
    ) -> None:
        """OSError when the sink cannot be opened: a start that would log nothing is no start."""
        self.dropped_lines = 0
        self._line = line
        self._open_sink = open_sink
        self._clock = clock
        self._max_buffer_bytes = max_buffer_bytes
        self._sink = open_sink()
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        # Blocks of whole lines that wait for the sink, oldest first, behind the rest of a line whose head is
        # out: that rest is never dropped, or the next line would be glued to the head.
        self._torn = b""
        self._blocks: deque[bytes] = deque()
        self._blocks_bytes = 0
        self._error = ""
        self._slowest_write_s = 0.0
        self._reported_dropped = 0
        self._report_not_before = -math.inf

    def record(self, record: AccessRecord) -> None:
        line = self._line(record)
        self._lines.append(line)
        self._lines_bytes = size = self._lines_bytes + len(line)
        if size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what goes. Called when enough has gathered, once a second, and at the end."""
        if self._lines:
            block = b"".join(self._lines)
            self._lines.clear()
            self._lines_bytes = 0
            self._blocks.append(block)
            self._blocks_bytes += len(block)
        if self._blocks or self._torn:
            self._write()
        while self._blocks_bytes > self._max_buffer_bytes:
            self._drop_oldest_block()
        self._report()

    def reopen(self) -> None:
        """Go on in a new file of the same name; after a failure, in the old one."""
        self.flush()
        try:
            sink = self._open_sink()
        except OSError as error:
            _logger.error("access log not reopened, the old file stays", extra=fields(error=error.strerror))
            return
        self._sink.close()
        self._sink = sink
        if self._torn:  # Its head is in the old file, where a rest does not come any more.
            self._torn = b""
            self.dropped_lines += 1
        self.flush()

    def close(self) -> None:
        self.flush()
        while self._blocks:
            self._drop_oldest_block()
        self._report_not_before = -math.inf
        self._report()
        self._sink.close()

    def _write(self) -> None:
        started_at = self._clock()
        try:
            while self._write_next():
                pass
            self._error = ""
        except BlockingIOError:
            self._error = ""  # A reader that lags is no fault until lines are lost.
        except OSError as error:
            self._error = error.strerror or type(error).__name__
        self._slowest_write_s = max(self._slowest_write_s, self._clock() - started_at)

    def _write_next(self) -> bool:
        """Write the rest of a line or the oldest block; False when nothing is left or no more goes."""
        if self._torn:
            self._torn = self._torn[self._sink.write(self._torn) :]
            return not self._torn
        if not self._blocks:
            return False
        block = self._blocks[0]
        taken = self._sink.write(block)
        whole_lines_end = block.find(b"\n", taken - 1) + 1 if taken else 0
        self._torn = block[taken:whole_lines_end]
        self._blocks_bytes -= max(taken, whole_lines_end)
        self._blocks[0] = rest = block[whole_lines_end:]
        if not rest:
            self._blocks.popleft()
        return not rest and not self._torn

    def _drop_oldest_block(self) -> None:
        block = self._blocks.popleft()
        self._blocks_bytes -= len(block)
        self.dropped_lines += block.count(b"\n")

    def _report(self) -> None:
        dropped = self.dropped_lines - self._reported_dropped
        is_slow = self._slowest_write_s >= SLOW_WRITE_S
        if not (dropped or is_slow or self._error) or self._clock() < self._report_not_before:
            return
        _logger.warning(
            "access log cannot follow",
            extra=fields(
                dropped_lines=dropped,
                buffered_bytes=self._blocks_bytes,
                slowest_write_s=round(self._slowest_write_s, 3),
                error=self._error or ("the disk is slow" if is_slow else "the reader is slow"),
            ),
        )
        self._reported_dropped = self.dropped_lines
        self._slowest_write_s = 0.0
        self._report_not_before = self._clock() + REPORT_INTERVAL_S


def open_access_log(
    path: str,
    log_format: str,
    wall_clock: Callable[[float], float],
    clock: Callable[[], float] = time.monotonic,
) -> AccessLogger:
    """The log of `node.access_log`; `wall_clock` turns loop time into seconds since 1970."""
    if log_format == "off":
        return NullAccessLog()
    formatted = LineFormat(STYLES[log_format], wall_clock)
    return AccessLog(formatted.line, partial(open_sink, path), clock)
