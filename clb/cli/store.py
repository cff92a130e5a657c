"""`clb store`: look after the database of what was made through the API.

Owns:      the commands, what they print, their exit statuses.
Elsewhere: the work (store/backup.py, store/checkup.py, store/migration.py). docs/store.md tells when to use which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from clb.config.faults import ConfigErrors
from clb.config.loader import load
from clb.service.privileges import Credentials, find_user
from clb.service.start_error import StartError
from clb.service.state import lock_state_dir, prepare_state_dir
from clb.store.backup import Contents, back_up, read_backup
from clb.store.backup import restore as put_back
from clb.store.checkup import check_up, demand_schema
from clb.store.database import Database, open_store, prepare_store
from clb.store.dump import Dump, DumpFault
from clb.store.engine import store_url
from clb.store.interface import StoreFault
from clb.store.inventory import AuditRecord

EXIT_CONFIG = 1
EXIT_REFUSED = 2

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The YAML file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look after the database of the management API.")


@app.command()
def check(config: ConfigFile, as_json: AsJson = False) -> None:
    """Read all of the store, and look whether it fits together; say what is in it. clb may serve meanwhile."""
    with _refusals(), _opened(config) as store:
        _print(Contents.of(Dump(check_up(store), ())), as_json, "sound", without_audit=True)


@app.command()
def migrate(config: ConfigFile) -> None:
    """Bring the database to the schema of this clb; `clb serve` does the same when it starts."""
    with _refusals():
        state_dir, url, owner = _place(config)
        store = prepare_store(url, state_dir, owner)
        store.close()
        typer.echo("the store has the schema of this clb")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A file that is not there yet.")],
    config: ConfigFile,
    as_json: AsJson = False,
) -> None:
    """Write all of the store to a file. clb may serve meanwhile. Keys in it stay sealed: keep the keyring elsewhere."""
    with _refusals(), _opened(config) as store:
        demand_schema(store)
        _print(back_up(store, file), as_json, f"backed up to {file}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `clb store backup` wrote.")],
    config: ConfigFile,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of everything in the store. Also moves a store from one kind of database to another."""
    with _refusals():
        dump = read_backup(file)
        state_dir, url, owner = _place(config)
        prepare_state_dir(state_dir, None if owner is None else Credentials("", *owner))
        lock = lock_state_dir(state_dir)  # Nobody serves from it, or starts to.
        try:
            with closing(prepare_store(url, state_dir, owner)) as store:
                revision = put_back(store, dump, _restored(dump))
        finally:
            os.close(lock)
        _print(replace(Contents.of(dump), revision=revision), as_json, f"restored from {file}")


def _restored(dump: Dump) -> AuditRecord:
    """For the audit log, of which whatever is younger than the backup goes."""
    return AuditRecord(
        at=datetime.now(UTC),
        actor=f"uid:{os.getuid()} (command line)",
        action="store.restore",
        subject="store",
        before=None,
        after={"backup_revision": dump.inventory.revision},
        request_id="",
    )


@contextmanager
def _opened(config: Path) -> Iterator[Database]:
    state_dir, url, owner = _place(config)
    place = store_url(url, state_dir)
    if place.get_backend_name() == "sqlite" and not Path(place.database or "").exists():
        raise StoreFault(f"there is no store in {place.database} yet")
    with closing(open_store(url, state_dir, owner)) as store:
        yield store


def _place(config: Path) -> tuple[Path, str | None, tuple[int, int] | None]:
    """State directory, URL, and whom files are given to."""
    loaded = load(config)
    url = loaded.store.url
    user = find_user(loaded.node.user)
    return loaded.node.state_dir, url.get_secret_value() if url else None, (user.user, user.group) if user else None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ConfigErrors as errors:
        typer.echo("\n".join(map(str, errors.faults)), err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    except FileExistsError as error:
        typer.echo(f"clb: {error.filename2 or error.filename} is there already; nothing was written", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    except OSError as error:
        typer.echo(f"clb: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    except (StoreFault, DumpFault, StartError) as fault:
        typer.echo(f"clb: {fault}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None


def _print(contents: Contents, as_json: bool, done: str, *, without_audit: bool = False) -> None:
    values = asdict(contents)
    if without_audit:
        del values["audit_records"]
    if as_json:
        typer.echo(json.dumps(values))
        return
    numbers = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in values.items() if name != "revision")
    typer.echo(f"{done}: revision {contents.revision}, {numbers}")
