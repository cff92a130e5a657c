"""The routes of tokens: make, list, show, change, revoke; and who am I.

Owns:      which change of a token is allowed, and what is recorded of it.
Elsewhere: what a token is (tokens.py), its models (access_models.py), the way of a write (writer.py).

A token's role never changes: whoever held it would not notice. A revoked one stays, so that the audit log has a name
for what it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response

from clb.control.access import Actor, audit, requires
from clb.control.access_models import (
    NewTokenAnswer,
    TokenAnswer,
    TokenChange,
    TokenName,
    TokenPage,
    TokenRequest,
    WhoAmI,
)
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.preconditions import etag
from clb.control.problems import ApiFault
from clb.control.tokens import TokenBook, make_token
from clb.control.write_requests import Asked, AskedFor, Plan, Rendered, carry_out, writer_of
from clb.store.inventory import Inventory, Role, Token, Write

MOST_TOKENS: Final = 1000
"""That are not revoked."""
TOKENS_AT_ONCE: Final = 200

TokenId = Annotated[str, Path(max_length=64, description="Such as tok-k7m2p9qxw4ab.")]
Admin = Annotated[Actor, requires(Role.ADMIN)]


def build_token_router(node: Node, book: TokenBook) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(tags=["access"], responses={code: {"model": ErrorAnswer} for code in (400, 401, 403, 421, 503)})
    _add_reading(router, node, book)
    _add_create(router, node, book)
    _add_changes(router, node, book)
    return router


def _add_reading(router: APIRouter, node: Node, book: TokenBook) -> None:
    @router.get("/v1/whoami")
    async def whoami(actor: Annotated[Actor, requires(Role.VIEWER)]) -> WhoAmI:
        """Say who asks, with the token that was used."""
        # Also while nothing is known of the store, for who comes by the control socket.
        token = _tokens(node).get(actor.token_id) if actor.token_id is not None else None
        return WhoAmI(name=actor.name, role=actor.role, token=_answer(node, book, token) if token else None)

    @router.get("/v1/tokens", dependencies=[requires(Role.ADMIN)])
    async def list_tokens(
        name: Annotated[TokenName | None, Query(description="Only the one of this name.")] = None,
        revoked: Annotated[bool, Query(description="Revoked ones, too.")] = False,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_TOKENS)] = TOKENS_AT_ONCE,
    ) -> TokenPage:
        """List tokens, oldest first; their secrets are nowhere."""
        found = sorted(_tokens(node).values(), key=_order)
        shown = [each for each in found if revoked or each.revoked_at is None]
        shown = [each for each in shown if name in (None, each.name)]
        if after is not None and (last := _tokens(node).get(after)) is not None:
            shown = [each for each in shown if _order(each) > _order(last)]
        page = shown[:limit]
        return TokenPage(
            tokens=[_answer(node, book, each) for each in page], next=page[-1].id if len(shown) > limit else None
        )

    @router.get("/v1/tokens/{token_id}", dependencies=[requires(Role.ADMIN)], responses=_errors(404))
    async def show_token(token_id: TokenId, response: Response) -> TokenAnswer:
        """Show one token."""
        token = _existing(_tokens(node), token_id)
        response.headers["etag"] = etag(token.version)
        return _answer(node, book, token)


def _add_create(router: APIRouter, node: Node, book: TokenBook) -> None:
    @router.post(
        "/v1/tokens",
        status_code=201,
        response_model=NewTokenAnswer,
        responses={200: {"model": Plan}, **_errors(409, 422)},
    )
    async def create_token(wanted: TokenRequest, actor: Admin, asked: AskedFor) -> Response:
        """Make a token; its secret is in this answer and nowhere else, not even in a repeated one."""
        now = _now(node)
        _check_expiry(wanted.expires_at, now)
        new = make_token(wanted.name, wanted.role, created_by=actor.name, now=now, expires_at=wanted.expires_at)

        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            _check_name(inventory.tokens, wanted.name)
            if sum(each.revoked_at is None for each in inventory.tokens.values()) >= MOST_TOKENS:
                raise ApiFault(409, "too_many_tokens", f"there are {MOST_TOKENS} tokens; revoke some")
            write = _written(new.token, None, actor, "token.create", asked, now)
            kept = NewTokenAnswer(**_answer(node, book, new.token).model_dump(), secret=None)
            shown = kept.model_copy(update={"secret": new.secret})
            return write, Rendered(shown, 201, new.token.version, f"/v1/tokens/{new.token.id}", kept)

        return await carry_out(node, actor, asked, draft)


def _add_changes(router: APIRouter, node: Node, book: TokenBook) -> None:
    @router.patch(
        "/v1/tokens/{token_id}", response_model=TokenAnswer | Plan, responses=_errors(404, 409, 412, 422, 428)
    )
    async def change_token(token_id: TokenId, change: TokenChange, actor: Admin, asked: AskedFor) -> Response:
        """Give a token another name or expiry."""
        now = _now(node)
        given = change.model_fields_set
        if "expires_at" in given:
            _check_expiry(change.expires_at, now)

        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            before = _changeable(inventory.tokens, token_id, asked)
            if change.name not in (None, before.name):
                _check_name(inventory.tokens, change.name or "")
            after = replace(
                before,
                name=change.name or before.name,
                expires_at=change.expires_at if "expires_at" in given else before.expires_at,
                version=before.version + 1,
            )
            write = _written(after, before, actor, "token.change", asked, now)
            return write, Rendered(_answer(node, book, after), version=after.version)

        return await carry_out(node, actor, asked, draft)

    @router.delete("/v1/tokens/{token_id}", response_model=TokenAnswer | Plan, responses=_errors(404, 409, 412, 428))
    async def revoke_token(token_id: TokenId, actor: Admin, asked: AskedFor) -> Response:
        """Revoke a token, on every node of this store. That is for good."""
        now = _now(node)

        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            before = _changeable(inventory.tokens, token_id, asked)
            after = replace(before, revoked_at=now, version=before.version + 1)
            write = _written(after, before, actor, "token.revoke", asked, now)
            return write, Rendered(_answer(node, book, after), version=after.version)

        return await carry_out(node, actor, asked, draft)


# --- what may be done ---


def _tokens(node: Node) -> Mapping[str, Token]:
    return writer_of(node).inventory.tokens


def _now(node: Node) -> datetime:
    return datetime.fromtimestamp(node.wall(), UTC)


def _order(token: Token) -> tuple[datetime, str]:
    return token.created_at, token.id


def _existing(tokens: Mapping[str, Token], token_id: str) -> Token:
    token = tokens.get(token_id)
    if token is None:
        raise ApiFault(404, "not_found", "there is no token with this id; GET /v1/tokens lists them")
    return token


def _changeable(tokens: Mapping[str, Token], token_id: str, asked: Asked) -> Token:
    token = _existing(tokens, token_id)
    asked.expect(token.version)
    if token.revoked_at is not None:
        raise ApiFault(409, "revoked", "the token is revoked, and stays so; make another one")
    return token


def _check_name(tokens: Mapping[str, Token], name: str) -> None:
    """A name is free again once its token is revoked."""
    if any(each.name == name and each.revoked_at is None for each in tokens.values()):
        raise ApiFault(
            409, "name_taken", f'a token is called "{name}" already; choose another name, or revoke that one'
        )


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise ApiFault(422, "already_expired", "expires_at has passed; give a later time, or null for never")


def _written(after: Token, before: Token | None, actor: Actor, action: str, asked: Asked, now: datetime) -> Write:
    record = audit(
        actor,
        action,
        f"{after.id} ({after.name})",
        at=now,
        request_id=asked.request_id,
        before=_facts(before) if before is not None else None,
        after=_facts(after),
    )
    return Write(tokens=(after,), audit=(record,))


def _facts(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role.value,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _answer(node: Node, book: TokenBook, token: Token) -> TokenAnswer:
    is_over = token.expires_at is not None and token.expires_at <= _now(node)
    return TokenAnswer(
        id=token.id,
        name=token.name,
        role=token.role,
        state="revoked" if token.revoked_at is not None else "expired" if is_over else "active",
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=book.last_used(token.id),
        version=token.version,
    )


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in statuses}
