"""Who asks, and what for: roles of routes, and the record of what was done.

Owns:      the actor of a request, `requires` on every route, audit records without secrets.
Elsewhere: how an actor is found out (guard.py, credentials.py); keeping the records (audit_trail.py).

A route names its role where it is declared:

    @router.post("/v1/things")
    async def make(thing: Thing, actor: Annotated[Actor, requires(Role.ADMIN)]) -> ThingAnswer: ...

The OpenAPI document repeats it, and `check_roles` refuses to serve an app with a route that names none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase

from clb.control.problems import ApiFault
from clb.store.inventory import AuditRecord, Role

ACTOR: Final = "clb.actor"
"""Key of an ASGI scope: the Actor, put there by the guard."""
REQUEST_ID: Final = "clb.request_id"
"""Key of an ASGI scope: what names this request in answers, audit records and the log."""
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Whoever asks is answered."""
REMOVED: Final = "(removed)"
SECURITY_SCHEME: Final = "token"
ROLE_EXTENSION: Final = "x-required-role"

_RANKS: Final = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}
_SECRET_WORDS: Final = (
    "private_key", "secret", "token", "password", "passphrase", "digest", "sealed", "sealed_key", "wrapped",
)  # fmt: skip
_KEY_MARKER: Final = "PRIVATE KEY-----"
_LONGEST_TEXT: Final = 2000
_MOST_ITEMS: Final = 200
_DEEPEST: Final = 8


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks."""

    name: str
    """As audit records have it: `token:NAME (ID)` or `uid:0 (control socket)`."""
    role: Role
    token_id: str | None
    """None of who came by the control socket."""

    def may(self, role: Role) -> bool:
        """Whether the actor's role can what `role` can."""
        return _RANKS[self.role] >= _RANKS[role]


class _Requirement(SecurityBase):
    """A security scheme to FastAPI, so that the OpenAPI document shows it at each operation."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.model = HTTPBearer(description="A token of `clb token create`; its role must reach the operation's.")
        self.scheme_name = SECURITY_SCHEME

    async def __call__(self, request: Request) -> Actor:
        actor = request.scope.get(ACTOR)
        # There is one behind every guard. Without a guard nobody may do anything.
        if not isinstance(actor, Actor):
            raise ApiFault(401, "no_credential", "nobody knows who asks")
        if not actor.may(self.role):
            message = f"this takes the role {self.role.value}, and {actor.name} has the role {actor.role.value}"
            raise ApiFault(403, "forbidden", message)
        return actor


def requires(role: Role) -> Any:
    """Return what a route is annotated with: its dependency that yields the Actor, or answers 403."""
    # The list of roles beside a bearer scheme is OpenAPI 3.1's own way to say it.
    return Security(_Requirement(role), scopes=[role.value])


def request_id(request: Request) -> str:
    """Return the name of a request, for audit records."""
    return str(request.scope.get(REQUEST_ID, ""))


RequestId = Depends(request_id)
"""`request: Annotated[str, RequestId]` in a route."""


# --- the roles of an app ---


def roles(app: FastAPI) -> Iterator[tuple[APIRoute, Role | None]]:
    """Every route with the role that it requires."""
    for route in api_routes(app.routes):
        requirements = [each.call for each in route.dependant.dependencies if isinstance(each.call, _Requirement)]
        yield route, requirements[0].role if requirements else None


def api_routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """Every route, those of included routers too: some versions of FastAPI copy them, newer ones refer to them."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from api_routes(included.routes)


def check_roles(app: FastAPI) -> None:
    """See that no route is open by oversight.

    Raises:
        AssertionError: one is, or none is found at all.
    """
    found = list(roles(app))
    assert found, "the routes of this app are not where they are looked for"
    bare = [route.path for route, role in found if role is None and route.path not in OPEN_PATHS]
    assert not bare, f"these routes require no role: {', '.join(bare)}"


# --- audit records ---


def audit(
    actor: Actor | str,
    action: str,
    subject: str,
    *,
    at: datetime,
    request_id: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    outcome: str = "done",
) -> AuditRecord:
    """Make a record of what was done, without secrets in it."""
    return AuditRecord(
        at=at,
        actor=actor if isinstance(actor, str) else actor.name,
        action=action,
        subject=subject[:_LONGEST_TEXT],
        before=None if before is None else _plain_mapping(before, 0),
        after=None if after is None else _plain_mapping(after, 0),
        request_id=request_id,
        outcome=outcome,
    )


def _plain_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {
        str(name): REMOVED if _is_secret(str(name)) and item is not None else _plain(item, depth + 1)
        for name, item in list(value.items())[:_MOST_ITEMS]
    }


def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "_").endswith(_SECRET_WORDS)


def _plain(value: Any, depth: int) -> Any:
    """What JSON can hold and anybody who may read the audit log may see."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview) or depth > _DEEPEST:
        return REMOVED
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in list(value)[:_MOST_ITEMS]]
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return REMOVED if _KEY_MARKER in text else text[:_LONGEST_TEXT]
