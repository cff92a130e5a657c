"""Look whether a database is sound.

Owns:      what is asked of a database beyond reading it, and what is said of what is not sound.
Elsewhere: reading it (database.py); the command (cli/store.py).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from clb.store.database import Database
from clb.store.engine import translated
from clb.store.interface import SchemaFault, StoreFault
from clb.store.inventory import Certificate, Inventory, Kind
from clb.store.migration import HEAD, current

_MOST_FAULTS: Final = 20
_ABOVE: Final = {
    Kind.LOAD_BALANCER: None,
    Kind.LISTENER: Kind.LOAD_BALANCER,
    Kind.RULE: Kind.LISTENER,
    Kind.TARGET: Kind.RULE,
}


class Unsound(StoreFault):
    """It can be read, and is not what clb wrote."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults[:_MOST_FAULTS]))


def demand_schema(store: Database) -> None:
    """Go on only with a database of this clb's schema.

    Raises:
        SchemaFault: it has none, or another one.
        StoreAway: it cannot be read.
    """
    with translated(), store.engine.connect() as connection:
        found = current(connection)
    if found is None:
        raise SchemaFault("there is nothing of clb in the database yet: `clb serve` or `clb store migrate` makes it")
    if found != HEAD:
        raise SchemaFault(f"the store has schema {found} and this clb's is {HEAD}: run `clb store migrate`")


def check_up(store: Database) -> Inventory:
    """Read all of it, with what nobody looks at otherwise; return what it has.

    Raises:
        SchemaFault, StoreAway: see there.
        Unsound: it can be read, and is not what clb wrote.
    """
    demand_schema(store)
    if store.engine.dialect.name == "sqlite":
        with translated(), store.engine.connect() as connection:
            if faults := _file_faults(connection):
                raise Unsound(faults)
    inventory = store.read()
    if faults := record_faults(inventory):
        raise Unsound(faults)
    return inventory


def _file_faults(connection: Connection) -> list[str]:
    """What SQLite says of its file; PostgreSQL looks after its own."""
    said = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_FAULTS})").scalars().all()
    faults = [f"the file is damaged: {each}" for each in said if each != "ok"]
    # Asked of indexes that are not sound, this would say more than is true.
    if not faults:
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        faults = [f"{table}: a record hangs below one of {above} that is not there" for table, _, above, _ in lost]
    return faults


def record_faults(inventory: Inventory) -> list[str]:
    """What does not fit together."""
    faults = []
    for entry in inventory.entries.values():
        above = None if entry.parent is None else inventory.entries.get(entry.parent)
        if (above.kind if above else None) is not _ABOVE[entry.kind]:
            faults.append(f"{entry.kind} {entry.id} hangs below what it cannot hang below")
    for certificate in inventory.certificates.values():
        faults += [f"certificate {certificate.id}: {each} is damaged or not there" for each in _lost(certificate)]
    return faults


def _lost(certificate: Certificate) -> list[str]:
    """Generations of which rows.py found no material."""
    lost = [] if certificate.material.chain_pem else ["what it consists of"]
    if certificate.previous is not None and not certificate.previous.chain_pem:
        lost.append("its generation before")
    return lost
