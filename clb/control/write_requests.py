"""What every write of the API has in common: If-Match, Idempotency-Key, dry runs, and the answer.

Owns:      reading the three, and taking a draft to the writer and its outcome to a response.
Elsewhere: what is written (certificate_drafts.py and its neighbours); the order of a write (writer.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Header, Query, Request, Response
from pydantic import BaseModel

from clb.control.access import Actor, request_id
from clb.control.models import Answer, PlanEntry
from clb.control.node import Node
from clb.control.preconditions import IfMatch, check_if_match, etag
from clb.control.problems import ApiFault, FieldProblem
from clb.control.writer import CannotServe, Draft, Writer
from clb.store.inventory import Inventory, Replay, Write

_KEY: Final = "^[!-~]{1,200}$"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says beside its body."""

    request_id: str
    if_match: str | None
    idempotency_key: str | None
    digest: str
    """Of method, path and body: what an Idempotency-Key stands for."""
    dry_run: bool

    def expect(self, version: int) -> None:
        """See that the client knows what it is about to change.

        Raises:
            ApiFault: it names no version (428) or another one (412).
        """
        check_if_match(self.if_match, version)


async def _asked(
    request: Request,
    name: Annotated[str, Depends(request_id)],
    if_match: IfMatch = None,
    idempotency_key: Annotated[str | None, Header(pattern=_KEY, description="A repetition is answered alike.")] = None,
    dry_run: Annotated[bool, Query(description="Check and plan only; nothing is changed.")] = False,
) -> Asked:
    what = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    digest = sha256(what + await request.body()).hexdigest()
    return Asked(name, if_match, idempotency_key, digest, dry_run)


AskedFor = Annotated[Asked, Depends(_asked)]
"""Annotates the parameter of a route that writes."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer in its form."""

    body: BaseModel | None
    status: int = 200
    version: int | None = None
    """Its ETag."""
    location: str | None = None
    kept: BaseModel | None = None
    """What a repetition is answered in place of `body`, where that has a secret."""

    @property
    def text(self) -> str:
        """The body as JSON; nothing of an answer without one."""
        return self.body.model_dump_json() if self.body is not None else ""

    @property
    def kept_text(self) -> str:
        """What is stored of it."""
        return self.kept.model_dump_json() if self.kept is not None else self.text

    @property
    def headers(self) -> dict[str, str]:
        """Those that tell of this answer."""
        tag = etag(self.version) if self.version is not None else None
        return {name: value for name, value in (("etag", tag), ("location", self.location)) if value is not None}


class Plan(Answer):
    """What `dry_run=true` answers."""

    dry_run: bool = True
    changes: list[PlanEntry]
    """What would change for traffic."""


def writer_of(node: Node) -> Writer:
    """The node's writer.

    Raises:
        ApiFault: it is not known yet what the store has.
    """
    if node.writer is None:
        raise ApiFault(503, "starting", "this node does not know yet what the store has; try again")
    return node.writer


async def carry_out(
    node: Node, actor: Actor, asked: Asked, draft: Callable[[Inventory], tuple[Write, Rendered]]
) -> Response:
    """Do it, or only say what it would come to; a repetition with the same key is answered as the first was."""
    writer = writer_of(node)
    key = f"{actor.name} {asked.idempotency_key}" if asked.idempotency_key is not None else None
    if key is not None and (replay := await writer.replayed(key)) is not None:
        return _again(replay, asked)

    def remembered(rendered: Rendered) -> Replay:
        assert key is not None, "only called with one"
        return Replay(key, asked.digest, rendered.status, rendered.kept_text, rendered.headers, datetime.now(UTC))

    def drafted(inventory: Inventory) -> Draft[Rendered]:
        write, rendered = draft(inventory)
        return Draft(write, rendered, remembered if key is not None else None)

    try:
        written = await writer.write(drafted, dry_run=asked.dry_run)
    except CannotServe as refused:
        message = "nothing was changed: it cannot be taken into service"
        raise ApiFault(
            422, "refused", message, [FieldProblem(each.message, each.where, each.key) for each in refused.problems]
        ) from refused
    if asked.dry_run:
        changes = [PlanEntry(kind=each.kind, where=each.where, what=each.what) for each in written.changes]
        return Response(Plan(changes=changes).model_dump_json(), media_type=_JSON)
    rendered = written.answer
    return Response(rendered.text, rendered.status, rendered.headers, _JSON if rendered.body is not None else None)


def _again(replay: Replay, asked: Asked) -> Response:
    if replay.request_digest != asked.digest:
        raise ApiFault(422, "idempotency_key_reused", "this Idempotency-Key was sent with another request before")
    headers = {**replay.headers, "idempotent-replay": "true"}
    return Response(replay.body, replay.status, headers, _JSON if replay.body else None)
