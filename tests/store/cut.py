"""A socket before PostgreSQL that loses the connection over a COMMIT: before the server hears of it, or behind."""

from __future__ import annotations

import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import URL

NAME = ".s.PGSQL.5432"
When = Literal["before", "behind"]


class Cut:
    """Forwards everything; once armed, it loses one connection over its next COMMIT."""

    def __init__(self, directory: Path, server: Path) -> None:
        self.directory = directory
        self._server = server
        self._armed: When | None = None
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / NAME))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: URL) -> str:
        """The same database, by way of here."""
        return url.update_query_dict({"host": str(self.directory)}).render_as_string(hide_password=False)

    def arm(self, when: When) -> None:
        """Lose the next COMMIT."""
        self._armed = when

    def close(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(str(self._server / NAME))
                self._forward(client, server)
            except OSError:
                return  # Both ends see it.

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for sock in select.select([client, server], [], [])[0]:
                data = sock.recv(65536)
                if not data:
                    return
                if sock is client and self._armed is not None and b"COMMIT" in data:
                    self._lose(server, data)
                    return
                (server if sock is client else client).sendall(data)

    def _lose(self, server: socket.socket, data: bytes) -> None:
        when, self._armed = self._armed, None
        if when == "behind":
            server.sendall(data)
            assert b"COMMIT" in server.recv(65536)


@contextmanager
def cut_before(server: Path) -> Iterator[Cut]:
    """Stand before a server whose socket is in this directory."""
    with tempfile.TemporaryDirectory(prefix="clb-cut-") as directory:
        cut = Cut(Path(directory), server)
        try:
            yield cut
        finally:
            cut.close()
