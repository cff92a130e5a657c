"""What the API takes and answers about tokens and about the audit log.

Owns:      the models of /v1/tokens, /v1/whoami and /v1/audit.
Elsewhere: the routes (token_routes.py, audit_routes.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from clb.control.instants import Instant
from clb.control.models import Answer
from clb.store.inventory import Role

TOKEN_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"  # noqa: S105 - a pattern
_TOKEN: Final[JsonDict] = {
    "id": "tok-k7m2p9qxw4ab",
    "name": "deploy",
    "role": "operator",
    "state": "active",
    "created_at": "2026-03-01T12:00:00Z",
    "created_by": "uid:0 (control socket)",
    "expires_at": "2026-06-01T00:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
    "version": 1,
}

TokenName = Annotated[
    str, Field(pattern=TOKEN_NAME, description="1 to 63 letters, digits, dots, underscores and hyphens.")
]
Expiry = Annotated[Instant | None, Field(description="From when on it opens nothing; null: never.")]


class TokenAnswer(Answer):
    """A token without its secret, which is nowhere."""

    model_config = ConfigDict(json_schema_extra={"example": _TOKEN})

    id: str
    name: str
    role: Role
    state: Literal["active", "expired", "revoked"]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """On this node, since its management process began."""
    version: int


class NewTokenAnswer(TokenAnswer):
    """A token that was just made."""

    model_config = ConfigDict(json_schema_extra={"example": {**_TOKEN, "secret": "clb_k7m2p9qxw4ab_" + "A" * 43}})

    secret: str | None
    """To be sent as `Authorization: Bearer SECRET`; shown here and never again. Null where a request is repeated."""


class TokenPage(Answer):
    """`GET /v1/tokens`, oldest first."""

    tokens: list[TokenAnswer]
    next: str | None
    """Ask with `after` this for what comes next; null: that is all."""


class TokenRequest(BaseModel):
    """`POST /v1/tokens`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "deploy", "role": "operator", "expires_at": "2036-06-01T00:00:00Z"}},
    )

    name: TokenName
    role: Role
    expires_at: Expiry = None


class TokenChange(BaseModel):
    """`PATCH /v1/tokens/{id}`: what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"expires_at": "2036-09-01T00:00:00Z"}})

    name: TokenName | None = None
    expires_at: Expiry = None


class WhoAmI(Answer):
    """`GET /v1/whoami`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "token:deploy (tok-k7m2p9qxw4ab)", "role": "operator", "token": _TOKEN}}
    )

    name: str
    """As the audit log has it."""
    role: Role
    token: TokenAnswer | None
    """Null on the control socket."""


class AuditAnswer(Answer):
    """One record."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    outcome: str
    request_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(Answer):
    """`GET /v1/audit`, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "records": [
                    {
                        "number": 42,
                        "at": "2026-03-01T12:00:00Z",
                        "actor": "uid:0 (control socket)",
                        "action": "token.create",
                        "subject": "tok-k7m2p9qxw4ab (deploy)",
                        "outcome": "done",
                        "request_id": "req-abcdefghijkm",
                        "before": None,
                        "after": {"name": "deploy", "role": "operator", "expires_at": None},
                    }
                ],
                "next": None,
            }
        }
    )

    records: list[AuditAnswer]
    next: int | None
    """Ask with `below` this for older ones; null: there are none."""
