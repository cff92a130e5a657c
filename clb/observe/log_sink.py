"""Where log lines go: a file, or standard output, without waiting for a reader.

Owns:      opening, and one write that takes what the other side takes now.
Elsewhere: buffering, dropping and rotation (access_log.py).

A write to a regular file cannot be made non-blocking: it ends in the page cache, and stands still when the
kernel throttles a disk that cannot follow. Pipes, terminals and sockets never stand still here.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial

STDOUT = "-"
# POSIX: a pipe takes a write of at most this size whole or not at all. Several workers share one standard
# output, and larger writes of theirs would mix in the middle of a line.
_PIECE_BYTES = select.PIPE_BUF


class Sink:
    """An open destination. `write` says how many bytes were taken; OSError is the caller's to handle."""

    def __init__(self, send: Callable[[bytes], int], close: Callable[[], None], *, in_pieces: bool) -> None:
        self._send = send
        self._close = close
        self._in_pieces = in_pieces

    def write(self, lines: bytes) -> int:
        """Write whole lines, as many as go. Less than all comes back when the other side is full."""
        if not self._in_pieces:
            return self._send(lines)
        start = 0
        while start < len(lines):
            end = _end_of_piece(lines, start)
            try:
                taken = self._send(lines[start:end])
            except OSError:
                if start:
                    break  # What was taken counts; the next write meets the error again.
                raise
            start += taken
            if start != end:
                break
        return start

    def close(self) -> None:
        # The number of a closed descriptor is soon another file's: a late write must not reach it.
        self._send = _closed
        self._close()


def _closed(_data: bytes) -> int:
    raise OSError(errno.EBADF, "the access log is closed")


def _end_of_piece(lines: bytes, start: int) -> int:
    """The end of the last line that fits into one piece; a longer line is a piece of its own."""
    end = lines.rfind(b"\n", start, start + _PIECE_BYTES) + 1
    return end or lines.find(b"\n", start) + 1 or len(lines)


def open_sink(path: str) -> Sink:
    if path == STDOUT:
        return _open_standard_output()
    # O_NONBLOCK: a FIFO without a reader is an error at once and not a start that hangs.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return _of_descriptor(os.open(path, flags, 0o600))


def _of_descriptor(descriptor: int) -> Sink:
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    return Sink(partial(os.write, descriptor), partial(os.close, descriptor), in_pieces=not is_file)


def _open_standard_output(descriptor: int = 1) -> Sink:
    """O_NONBLOCK belongs to an open description, which others share: never set it on an inherited one."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return _of_descriptor(os.dup(descriptor))
    if stat.S_ISSOCK(mode):  # systemd's journal
        return _of_socket(os.dup(descriptor))
    try:
        # Opening a pipe or a terminal again by its name makes a description of our own.
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # another user's pipe (containers), or no /proc
        return _of_shared(os.dup(descriptor))
    return _of_descriptor(again)


def _of_socket(descriptor: int) -> Sink:
    stream = socket.socket(fileno=descriptor)
    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    return Sink(lambda data: stream.send(data, flags), stream.close, in_pieces=True)


def _of_shared(descriptor: int) -> Sink:
    """A description that must stay blocking: ask before each write, and write no more than was asked for.

    Two workers that ask at the same moment for the last page can still make one of them wait for the reader.
    """
    room = select.poll()
    room.register(descriptor, select.POLLOUT)

    def send(data: bytes) -> int:
        if not room.poll(0):
            raise BlockingIOError
        return os.write(descriptor, data[:_PIECE_BYTES])

    return Sink(send, partial(os.close, descriptor), in_pieces=True)
