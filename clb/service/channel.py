"""Talk between the supervisor and one child: small messages in order, and open files beside them.

Owns:      the form of a message on the socket, its bounds, and what waits while the other side does not read.
Elsewhere: which messages there are (supervisor.py lists them); watching a channel from a loop (channel_loop.py).
Shell:     never waits; `receive` gives None and `send` keeps what does not go now.

A message is one JSON object in one packet (SOCK_SEQPACKET keeps packets whole). One that is too large for a packet
travels in a memory file whose descriptor stands in its place; descriptors beyond what the kernel takes at once
(SCM_MAX_FD is 253) go ahead in packets of their own.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

INLINE_BYTES: Final = 32 * 1024
MAXIMUM_BYTES: Final = 256 * 1024 * 1024
FILES_IN_A_PACKET: Final = 200
MAXIMUM_FILES: Final = 100_000
MAXIMUM_UNSENT: Final = 10_000
"""Packets that may wait. Who has not read for so long will not read any more."""

_IN_MEMORY_FILE: Final = b"@"
_FILES_AHEAD: Final = b"+"
_ROOM_FOR_FILES: Final = socket.CMSG_SPACE(FILES_IN_A_PACKET * array.array("i").itemsize)

Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other side is gone, or says what no clb process says."""


class Channel:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._ahead: list[int] = []
        self._has_lost_files = False

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends of a new channel."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor, for a selector or a loop; -1 when closed."""
        return self._sock.fileno()

    @property
    def unsent(self) -> int:
        """How many packets wait; with any, call `flush` when the socket can be written to."""
        return len(self._unsent)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message; the descriptors stay the caller's, to close when they like.

        Raises:
            ChannelClosed: nobody reads it.
        """
        files = list(fds)
        while len(files) >= FILES_IN_A_PACKET:
            self._send_packet(_FILES_AHEAD, files[: FILES_IN_A_PACKET - 1])
            del files[: FILES_IN_A_PACKET - 1]
        data = json.dumps(message, separators=(",", ":")).encode("utf-8")
        if len(data) <= INLINE_BYTES:
            self._send_packet(data, files)
            return
        memory = _memory_file(data)
        try:
            self._send_packet(_IN_MEMORY_FILE, [*files, memory])
        finally:
            os.close(memory)

    def flush(self) -> None:
        """Send what waits, as much of it as goes.

        Raises:
            ChannelClosed: nobody reads it.
        """
        while self._unsent:
            data, files = self._unsent[0]
            if not self._sent(data, files):
                return
            self._unsent.popleft()
            _close_all(files)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors, which are the caller's to close; None if there is none yet.

        If this process had no room for the descriptors, the message is `lost{of, version}`: what it was, without them.

        Raises:
            ChannelClosed: there will be none any more.
        """
        while True:
            try:
                packet = self._receive_packet()
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if packet is None:
                return None
            data, files = packet
            self._ahead += files
            if len(self._ahead) > MAXIMUM_FILES:
                raise ChannelClosed(f"more than {MAXIMUM_FILES} descriptors for one message")
            if data != _FILES_AHEAD:
                files, self._ahead = self._ahead, []
                if not self._has_lost_files:
                    return _parse(data, files), files
                self._has_lost_files = False
                return _without_files(data, files), []

    def close(self) -> None:
        """End it; what waits is lost."""
        for _, files in self._unsent:
            _close_all(files)
        self._unsent.clear()
        _close_all(self._ahead)
        self._ahead = []
        self._sock.close()

    def _send_packet(self, data: bytes, files: list[int]) -> None:
        if not self._unsent and self._sent(data, files):
            return
        if len(self._unsent) >= MAXIMUM_UNSENT:
            raise ChannelClosed(f"{MAXIMUM_UNSENT} packets have not been read")
        # Copies, since the caller may close the originals at once.
        self._unsent.append((data, [os.dup(file) for file in files]))

    def _sent(self, data: bytes, files: list[int]) -> bool:
        try:
            socket.send_fds(self._sock, [data], files) if files else self._sock.send(data)
        except BlockingIOError:
            return False
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        return True

    def _receive_packet(self) -> tuple[bytes, list[int]] | None:
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                INLINE_BYTES, _ROOM_FOR_FILES, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        files = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(content[: len(content) - len(content) % files.itemsize])
        if not data or flags & socket.MSG_TRUNC:
            _close_all(files)
            raise ChannelClosed("a packet that is too long" if data else "the other side is gone")
        if flags & socket.MSG_CTRUNC:
            self._has_lost_files = True
        return data, list(files)


def _parse(data: bytes, files: list[int]) -> Message:
    try:
        if data == _IN_MEMORY_FILE:
            data = _read_whole(files.pop())
        message = json.loads(data)
    except (ValueError, IndexError, OSError) as error:
        _close_all(files)
        raise ChannelClosed(f"no message: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        _close_all(files)
        raise ChannelClosed("a message without a type")
    return message


def _without_files(data: bytes, files: list[int]) -> Message:
    """Who is short of descriptors has other things to do than what the message asked for."""
    _close_all(files)
    told = _parse(data, []) if data != _IN_MEMORY_FILE else {}
    return {"type": "lost", "of": told.get("type", ""), "version": told.get("version", 0)}


def _memory_file(data: bytes) -> int:
    memory = os.memfd_create("clb-message", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        file.write(data)
    return memory


def _read_whole(memory: int) -> bytes:
    try:
        size = os.fstat(memory).st_size
        if size > MAXIMUM_BYTES:
            raise ValueError(f"a message of {size} bytes")
        with open(memory, "rb", closefd=False) as file:
            file.seek(0)  # The position came with the descriptor, and stands at the end.
            return file.read()
    finally:
        os.close(memory)


def _close_all(files: Sequence[int]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
