"""Rows of the tables to values of the inventory, and back.

Owns:      which column is which field, and which record is not what was written.
Elsewhere: the tables (tables.py); the values (inventory.py).
Pure:      rows and values in, values and rows out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clb.store.interface import StoreAway
from clb.store.inventory import (
    AuditRecord,
    Certificate,
    Entry,
    Kind,
    Material,
    Override,
    Replay,
    Role,
    SealedKey,
    Token,
)
from clb.store.tables import LONG_AGO

Row = Mapping[str, Any]

_LOST = Material("", None, "", "", LONG_AGO, LONG_AGO)
"""Where a number is damaged the others must be read all the same; this one opens for nobody."""


class RecordDamaged(StoreAway):
    """A record is not what was written. Without it the whole would be another, so none of it can be read."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the record of {what} is damaged")


def entry_row(entry: Entry) -> dict[str, Any]:
    """As it is stored."""
    return {
        "id": entry.id,
        "kind": entry.kind.value,
        "parent": entry.parent,
        "position": entry.position,
        "key": entry.key,
        "document": _text(entry.document),
        "version": entry.version,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
    }


def entry_of(row: Row) -> Entry:
    """As it was stored.

    Raises:
        RecordDamaged: it is not.
    """
    what = f"{row['kind']} {row['id']}"
    try:
        kind = Kind(row["kind"])
    except ValueError as error:
        raise RecordDamaged(what) from error
    return Entry(
        id=row["id"],
        kind=kind,
        parent=row["parent"],
        position=row["position"],
        key=row["key"],
        document=_mapping(row["document"], what),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def certificate_row(certificate: Certificate) -> dict[str, Any]:
    """Without what it consists of."""
    return {
        "id": certificate.id,
        "name": certificate.name,
        "type": certificate.type,
        "generation": certificate.generation,
        "previous_generation": certificate.previous_generation,
        "forced": certificate.forced,
        "version": certificate.version,
        "created_at": certificate.created_at,
        "updated_at": certificate.updated_at,
        "replaced_at": certificate.replaced_at,
        "notified_days": certificate.notified_days,
    }


def certificate_of(row: Row, materials: Mapping[tuple[str, int], Material]) -> Certificate:
    """With the generations that it names; of one that is not there, what nobody can use."""
    previous = row["previous_generation"]
    return Certificate(
        id=row["id"],
        name=row["name"],
        type=row["type"],
        material=materials.get((row["id"], row["generation"]), _LOST),
        previous=None if previous is None else materials.get((row["id"], previous), _LOST),
        generation=row["generation"],
        previous_generation=previous,
        forced=row["forced"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        replaced_at=row["replaced_at"],
        notified_days=row["notified_days"],
    )


def material_rows(certificate: Certificate) -> list[dict[str, Any]]:
    """One row for each generation that is kept."""
    kept = [(certificate.generation, certificate.material)]
    if certificate.previous is not None and certificate.previous_generation is not None:
        kept.append((certificate.previous_generation, certificate.previous))
    return [_material_row(certificate.id, generation, material) for generation, material in kept]


def _material_row(certificate: str, generation: int, material: Material) -> dict[str, Any]:
    sealed = material.sealed_key
    return {
        "certificate": certificate,
        "generation": generation,
        "chain_pem": material.chain_pem,
        "key_id": sealed.key_id if sealed else None,
        "wrapped": sealed.wrapped if sealed else None,
        "sealed": sealed.sealed if sealed else None,
        "fingerprint": material.fingerprint,
        "key_digest": material.key_digest,
        "not_before": material.not_before,
        "not_after": material.not_after,
    }


def material_of(row: Row) -> Material:
    """As it was stored."""
    sealed = None
    if row["key_id"] is not None:
        sealed = SealedKey(row["key_id"], bytes(row["wrapped"]), bytes(row["sealed"]))
    return Material(
        chain_pem=row["chain_pem"],
        sealed_key=sealed,
        fingerprint=row["fingerprint"],
        key_digest=row["key_digest"],
        not_before=row["not_before"],
        not_after=row["not_after"],
    )


def override_row(override: Override) -> dict[str, Any]:
    """As it is stored."""
    return {
        "target": override.target,
        "weight": override.weight,
        "draining": override.draining,
        "file_weight": override.file_weight,
        "version": override.version,
        "updated_at": override.updated_at,
    }


def override_of(row: Row) -> Override:
    """As it was stored."""
    return Override(**{name: row[name] for name in Override.__dataclass_fields__})


def token_row(token: Token) -> dict[str, Any]:
    """As it is stored."""
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "digest": token.digest,
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "version": token.version,
    }


def token_of(row: Row) -> Token:
    """As it was stored.

    Raises:
        RecordDamaged: it is not.
    """
    fields = {name: row[name] for name in Token.__dataclass_fields__}
    try:
        role = Role(row["role"])
    except ValueError as error:
        raise RecordDamaged(f"token {row['id']}") from error
    return Token(**{**fields, "role": role, "digest": bytes(row["digest"])})


def audit_row(record: AuditRecord) -> dict[str, Any]:
    """As it is stored; the database gives the number."""
    return {
        "at": record.at,
        "actor": record.actor,
        "action": record.action,
        "subject": record.subject,
        "before": None if record.before is None else _text(record.before),
        "after": None if record.after is None else _text(record.after),
        "request_id": record.request_id,
        "outcome": record.outcome,
    }


def audit_of(row: Row) -> AuditRecord:
    """As it was stored.

    Raises:
        RecordDamaged: it is not.
    """
    what = f"what was done at {row['at']}"
    return AuditRecord(
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        subject=row["subject"],
        before=None if row["before"] is None else _mapping(row["before"], what),
        after=None if row["after"] is None else _mapping(row["after"], what),
        request_id=row["request_id"],
        outcome=row["outcome"],
    )


def replay_row(replay: Replay) -> dict[str, Any]:
    """As it is stored."""
    return {
        "key": replay.key,
        "request_digest": replay.request_digest,
        "status": replay.status,
        "body": replay.body,
        "headers": _text(replay.headers),
        "created_at": replay.created_at,
    }


def replay_of(row: Row) -> Replay:
    """As it was stored.

    Raises:
        RecordDamaged: it is not.
    """
    fields = {name: row[name] for name in Replay.__dataclass_fields__}
    return Replay(**{**fields, "headers": _mapping(row["headers"], "an answer to a repeated request")})


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _mapping(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RecordDamaged(what) from error
    if not isinstance(found, dict):
        raise RecordDamaged(what)
    return found
