"""From nothing and from every schema there ever was to the newest; never over something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from samples import entry
from sqlalchemy import create_engine, text

from clb.store import tables
from clb.store.database import open_store, prepare_store
from clb.store.interface import SchemaFault
from clb.store.inventory import Write
from clb.store.migration import HEAD, current, migrate


def test_the_newest_migration_is_the_one_that_is_looked_for():
    config = Config()
    config.set_main_option("script_location", "clb.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_migrations_make_what_the_tables_say(tmp_path: Path, url: str):
    store = prepare_store(url, tmp_path)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [
            each for each in compare_metadata(context, tables.metadata) if tables.SCHEMA_TABLE not in str(each)
        ]
    # The index on an expression is read back in each database's own words.
    assert [each for each in differences if "uq_entries_natural" not in str(each)] == []
    store.close()


def test_a_second_start_finds_nothing_to_do(tmp_path: Path, url: str):
    store = prepare_store(url, tmp_path)
    store.commit(Write(entries=(entry("shop"),)), 0)
    assert not migrate(store.engine)
    assert store.read().entries.keys() == {"shop"}
    store.close()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (f"UPDATE {tables.SCHEMA_TABLE} SET version_num = '9999'", "schema 9999 and this clb knows schemas up to"),
        (f"DELETE FROM {tables.SCHEMA_TABLE}", "schema unknown"),
        (f"DROP TABLE {tables.SCHEMA_TABLE}", "tables of another program"),
    ],
    ids=["newer", "unknown", "foreign"],
)
def test_a_schema_that_is_not_known_is_left_alone(tmp_path: Path, url: str, spoil: str, sentence: str):
    store = prepare_store(url, tmp_path)
    store.commit(Write(entries=(entry("shop"),)), 0)
    with store.engine.begin() as connection:
        connection.execute(text(spoil))
    store.close()
    with pytest.raises(SchemaFault, match=sentence):
        prepare_store(url, tmp_path)
    again = open_store(url, tmp_path)
    assert again.read().entries.keys() == {"shop"}
    again.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch):
    def fail(_: object) -> None:
        raise ZeroDivisionError

    store = open_store(url, tmp_path)
    monkeypatch.setattr("clb.store.migration._first_row", fail)
    with pytest.raises(ZeroDivisionError):
        store.migrate()
    with store.engine.connect() as connection:
        assert current(connection) is None
    monkeypatch.undo()
    assert store.migrate()
    store.close()


def test_migrations_are_part_of_the_package(tmp_path: Path):
    """They are found through the package, wherever it is installed."""
    engine = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with engine.connect() as connection:
        assert current(connection) is None
    engine.dispose()
    assert (Path(tables.__file__).parent / "migrations" / "versions" / "0001_first.py").is_file()
