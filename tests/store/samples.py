"""Values to store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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

NOW = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)
BELOW = {Kind.LOAD_BALANCER: Kind.LISTENER, Kind.LISTENER: Kind.RULE, Kind.RULE: Kind.TARGET}


def entry(name: str, kind: Kind = Kind.LOAD_BALANCER, parent: str | None = None, **fields: Any) -> Entry:
    """An entry whose id, key and name are alike."""
    values = {
        "position": 0,
        "key": name,
        "document": {"name": name, "note": "ü – ✓", "list": [1, {"deep": None}]},
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
        **fields,
    }
    return Entry(name, kind, parent, **values)


def material(seed: int = 1, *, has_key: bool = True) -> Material:
    """What a certificate consists of."""
    sealed = SealedKey(f"key-{seed}", bytes([seed, 0, 255]), bytes(range(256))) if has_key else None
    return Material(f"PEM {seed}\n", sealed, f"{seed:064x}", f"digest {seed}", NOW, NOW + timedelta(days=seed))


def certificate(name: str, **fields: Any) -> Certificate:
    """A server certificate in its first generation."""
    values = {
        "type": "server",
        "material": material(),
        "previous": None,
        "generation": 1,
        "previous_generation": None,
        "forced": False,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
        **fields,
    }
    return Certificate(f"cert-{name}", name, **values)


def override(target: str, **fields: Any) -> Override:
    """What the API says of a target of a file."""
    values = {"weight": 5, "draining": False, "file_weight": 10, "version": 1, "updated_at": NOW, **fields}
    return Override(target, **values)


def token(name: str, **fields: Any) -> Token:
    """A credential that never ends."""
    values = {
        "role": Role.OPERATOR,
        "digest": b"\x00\xff" * 16,
        "created_at": NOW,
        "created_by": "uid:0 (control socket)",
        "expires_at": None,
        "revoked_at": None,
        "version": 1,
        **fields,
    }
    return Token(f"tok-{name}", name, **values)


def audit(action: str = "load_balancer.create", **fields: Any) -> AuditRecord:
    """Somebody did something."""
    values = {
        "at": NOW,
        "actor": "uid:0 (control socket)",
        "subject": "lb-1 shop",
        "before": None,
        "after": {"name": "shop"},
        "request_id": "r-1",
        **fields,
    }
    return AuditRecord(action=action, **values)


def replay(key: str, **fields: Any) -> Replay:
    """An answer that was given."""
    values = {
        "request_digest": "abc",
        "status": 201,
        "body": '{"id": "lb-1"}',
        "headers": {"etag": '"1"'},
        "created_at": NOW,
        **fields,
    }
    return Replay(key, **values)
