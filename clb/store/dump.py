"""An inventory as text: the same for every kind of database.

Owns:      the format of backups and of the local snapshot.
Elsewhere: files (snapshot_file.py, backup.py).
Pure:      values in, lines out, and back.

JSON, one object a line: a head with the format and the revision, then a record a line, then a foot with how many there
were and the SHA-256 of all lines before it: a file that was cut off or changed is not taken for a whole one. Private
keys are in it as they are in the database, sealed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final

from clb.store import rows
from clb.store.inventory import AuditRecord, Inventory

FORMAT: Final = "clb-store-1"
_TIMES: Final = frozenset(
    {
        "created_at",
        "updated_at",
        "replaced_at",
        "not_before",
        "not_after",
        "expires_at",
        "revoked_at",
        "at",
    }
)
_BYTES: Final = frozenset({"wrapped", "sealed", "digest"})


class DumpFault(Exception):
    """The text is no dump, not whole, or of another version of clb."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What a text had."""

    inventory: Inventory
    audit: tuple[AuditRecord, ...]


def dump_lines(inventory: Inventory, audit: Iterable[AuditRecord] = ()) -> Iterator[bytes]:
    """Write it, a line at a time."""
    digest, count = hashlib.sha256(), -1
    for value in chain([{"format": FORMAT, "revision": inventory.revision}], _records(inventory, audit)):
        line = json.dumps(value, default=_spell, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        count += 1
        yield line
    yield json.dumps({"records": count, "sha256": digest.hexdigest()}).encode() + b"\n"


def _records(inventory: Inventory, audit: Iterable[AuditRecord]) -> Iterator[dict[str, Any]]:
    for entry in inventory.entries.values():
        yield {"entry": rows.entry_row(entry)}
    for certificate in inventory.certificates.values():
        yield {"certificate": rows.certificate_row(certificate), "materials": rows.material_rows(certificate)}
    for override in inventory.overrides.values():
        yield {"override": rows.override_row(override)}
    for token in inventory.tokens.values():
        yield {"token": rows.token_row(token)}
    for record in audit:
        yield {"audit": rows.audit_row(record)}


def _spell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode("ascii")


def read_dump(data: bytes) -> Dump:
    """Understand it.

    Raises:
        DumpFault: see there.
    """
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        raise DumpFault("it is empty or cut off")
    try:
        head, *records, foot = [json.loads(line) for line in lines]
        if head.get("format") != FORMAT:
            raise DumpFault(f"it is not in the format {FORMAT}")
        whole = {"records": len(records), "sha256": hashlib.sha256(b"".join(lines[:-1])).hexdigest()}
        if foot != whole:
            raise DumpFault("it is cut off or was changed: its checksum is another")
        return _put_together(head["revision"], records)
    except (ValueError, KeyError, TypeError, AttributeError, rows.RecordDamaged) as error:
        raise DumpFault("it is cut off, or clb did not write it") from error


def _put_together(revision: int, records: Iterable[dict[str, Any]]) -> Dump:
    found: dict[str, list[dict[str, Any]]] = {}
    materials = {}
    for record in records:
        kind, row = next(iter(record.items()))
        found.setdefault(kind, []).append(_read(row))
        for each in record.get("materials", ()):
            read = _read(each)
            materials[read["certificate"], read["generation"]] = rows.material_of(read)
    inventory = Inventory.of(
        revision,
        map(rows.entry_of, found.get("entry", ())),
        [rows.certificate_of(row, materials) for row in found.get("certificate", ())],
        map(rows.override_of, found.get("override", ())),
        map(rows.token_of, found.get("token", ())),
    )
    return Dump(inventory, tuple(map(rows.audit_of, found.get("audit", ()))))


def _read(row: dict[str, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if value is None:
            continue
        if name in _TIMES:
            row[name] = datetime.fromisoformat(value)
        elif name in _BYTES:
            row[name] = base64.b64decode(value, validate=True)
    return row
