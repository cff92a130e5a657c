"""A real server under a test's control: records raw bytes, answers raw bytes, on threads of its own."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

WAIT_S = 10.0
"""How long a test waits for what must come; only a failing test gets there."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Conversation:
    """The real server's side of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self._sock = sock
        self.number = number
        """0 for the server's first connection."""
        self.received = b""
        """Every byte that came."""
        self._taken = 0

    def _receive(self) -> bool:
        data = self._sock.recv(65536)
        self.received += data
        return bool(data)

    def read_until(self, end: bytes) -> bytes:
        """What comes up to and with `end`; EOFError if the connection ends before."""
        while (found := self.received.find(end, self._taken)) < 0:
            if not self._receive():
                raise EOFError
        start, self._taken = self._taken, found + len(end)
        return self.received[start : self._taken]

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self.received) - self._taken < size:
            if not self._receive():
                raise EOFError
        start, self._taken = self._taken, self._taken + size
        return self.received[start : self._taken]

    def read_head(self) -> bytes:
        """One request head, the empty line included."""
        return self.read_until(b"\r\n\r\n")

    def read_request(self) -> tuple[bytes, bytes]:
        """One request: head and raw body (chunks as they came)."""
        head = self.read_head()
        lowered = head.lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in lowered:
            body = b""
            while not body.endswith(b"\r\n0\r\n") and body != b"0\r\n":
                line = self.read_until(b"\r\n")
                size = int(line, 16)
                body += line + (self.read(size + 2) if size else b"")
            while not body.endswith(b"\r\n\r\n"):
                body += self.read_until(b"\r\n")
            return head, body
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", lowered)
        return head, self.read(int(length[1])) if length else b""

    def read_to_end(self) -> bytes:
        """All that still comes until the other side ends."""
        while self._receive():
            pass
        start, self._taken = self._taken, len(self.received)
        return self.received[start:]

    def discard(self, size: int) -> None:
        """Read `size` bytes without keeping them; for bodies too large to record."""
        size -= len(self.received) - self._taken
        self._taken = len(self.received)
        while size > 0:
            data = self._sock.recv(min(size, 1 << 20))
            if not data:
                raise EOFError
            size -= len(data)

    def send(self, data: bytes) -> None:
        """Send everything."""
        self._sock.sendall(data)

    def end(self) -> None:
        """Send no more, and go on reading."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Cut the connection with RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close in order."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    @property
    def socket(self) -> socket.socket:
        """For options."""
        return self._sock


Script = Callable[[Conversation], None]


class RealServer:
    """Plays `script` with each connection; by default it answers every request with `answer`."""

    def __init__(self, answer: bytes = OK, script: Script | None = None, receive_buffer: int = 0) -> None:
        self.answer = answer
        self.script: Script = script or self._answer_all
        self.conversations: list[Conversation] = []
        self.requests: list[tuple[bytes, bytes]] = []
        """Head and body of each request that the default script read, in order."""
        self.errors: list[BaseException] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                conversation = Conversation(sock, len(self.conversations))
                self.conversations.append(conversation)
                self._changed.notify_all()
            self._start(lambda conversation=conversation: self._play(conversation))

    def _play(self, conversation: Conversation) -> None:
        try:
            self.script(conversation)
        except (EOFError, OSError):
            pass  # clb ended the connection: whether it may is for the test to say.
        except BaseException as error:
            self.errors.append(error)
        conversation.close()
        with self._changed:
            self._changed.notify_all()

    def _answer_all(self, conversation: Conversation) -> None:
        while True:
            request = conversation.read_request()
            self.record(request)
            conversation.send(self.answer)

    def record(self, request: tuple[bytes, bytes]) -> None:
        """Keep a request that a script of the test's own read."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something that a script does has happened."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), "the real server was not reached as expected"

    def tell(self) -> None:
        """Let `wait_for` look again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def heads(self) -> list[bytes]:
        """The heads of `requests`."""
        return [head for head, _ in self.requests]

    def stop(self) -> None:
        """Refuse connections from now on; those that are open stay."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> RealServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._threads[0].join(WAIT_S)  # The one that accepts, so that nobody comes in behind this.
        for conversation in self.conversations:
            conversation.close()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a script of the real server hangs"
        assert not self.errors, self.errors
