"""A PostgreSQL of the test's own: a server process in a temporary directory, on a socket there and on no port."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = Path("/usr/lib/postgresql")
USER = "postgres"


def binaries() -> Path | None:
    """Where Debian keeps the newest server's programs."""
    found = sorted(BINARIES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """A server that can be stopped and started."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory = directory
        self._programs = programs
        self._databases = 0
        self._as_user(programs / "initdb", "-D", self._data, "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8")
        settings = (
            f"unix_socket_directories = '{directory}'\nlisten_addresses = ''\nfsync = off\nmax_connections = 60\n"
            "shared_buffers = 16MB\nautovacuum = off\n"
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(settings)
        self.start()

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._as_user(self._programs / "pg_ctl", "-D", self._data, "-w", "-l", self._directory / "log", "start")

    def stop(self, how: str = "immediate") -> None:
        """End it: `immediate` is what a crash leaves."""
        self._as_user(self._programs / "pg_ctl", "-D", self._data, "-w", "-m", how, "stop")

    def database(self) -> str:
        """Make an empty database; return its URL."""
        self._databases += 1
        name = f"store_{self._databases}"
        self._as_user(self._programs / "createdb", "-h", self._directory, "-U", USER, name)
        return f"postgresql+psycopg://{USER}@/{name}?host={self._directory}"

    def _as_user(self, program: Path, *arguments: object) -> None:
        command = [str(program), *map(str, arguments)]
        if os.geteuid() == 0:
            # The server refuses to be root.
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server, and end it."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    directory = Path(tempfile.mkdtemp(prefix="clb-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(directory, USER, USER)
    server = Postgres(directory, programs)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)
