"""Stores of both kinds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres import Postgres, postgres

from clb.store.database import Database, prepare_store


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests; each takes a database of its own."""
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'clb.db'}"
    server: Postgres = request.getfixturevalue("server")
    return server.database()


@pytest.fixture
def opened(tmp_path: Path, url: str) -> Iterator[Callable[[], Database]]:
    """Open the database once more, as another node would."""
    made: list[Database] = []

    def again() -> Database:
        made.append(prepare_store(url, tmp_path))
        return made[-1]

    yield again
    for each in made:
        each.close()


@pytest.fixture
def store(opened: Callable[[], Database]) -> Database:
    """A store without anything in it."""
    return opened()
