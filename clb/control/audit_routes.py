"""The route of the audit log.

Owns:      filters and pages.
Elsewhere: what is recorded (access.py, each route that writes), and on which way (audit_trail.py, writer.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query

from clb.control.access import requires
from clb.control.access_models import AuditAnswer, AuditPage
from clb.control.instants import Instant
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.write_requests import writer_of
from clb.control.writer import Writer
from clb.store.inventory import AuditRecord, Role

RECORDS_AT_ONCE: Final = 100
MOST_RECORDS: Final = 500
"""In one answer: less than the store gives at once."""
_STEP: Final = 1000
_MOST_LOOKED_AT: Final = 20_000
"""By one request with filters; `next` says where another one goes on."""

Word = Annotated[str | None, Query(max_length=200)]


def build_audit_router(node: Node) -> APIRouter:
    """The route, for one node."""
    router = APIRouter(tags=["access"], responses={code: {"model": ErrorAnswer} for code in (400, 401, 403, 421, 503)})

    @router.get("/v1/audit", dependencies=[requires(Role.OPERATOR)])
    async def list_audit_records(
        below: Annotated[int, Query(ge=0, le=1 << 53, description="Only records with a lower number; 0: all.")] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_RECORDS)] = RECORDS_AT_ONCE,
        since: Annotated[Instant | None, Query(description="Only records of then and later.")] = None,
        actor: Annotated[Word, Query(description="A part of the actor.")] = None,
        action: Annotated[Word, Query(description="How the action begins: `token`, `token.create`.")] = None,
        subject: Annotated[Word, Query(description="A part of the subject: an id, a name.")] = None,
        outcome: Annotated[Word, Query(description="The outcome, such as done or refused.")] = None,
    ) -> AuditPage:
        """List who did what, newest first."""
        # What has just been done must be in the answer, as far as the store takes it.
        node.trail.gather_refusals(datetime.fromtimestamp(node.wall(), UTC), at_once=True)
        await node.trail.flush(node.writer)

        def matches(record: AuditRecord) -> bool:
            return (
                (actor is None or actor in record.actor)
                and (action is None or record.action.startswith(action))
                and (subject is None or subject in record.subject)
                and outcome in (None, record.outcome)
            )

        writer = writer_of(node)
        is_filtered = any(word is not None for word in (actor, action, subject, outcome))
        found, rest = await _search(writer, below, limit, since, matches if is_filtered else None)
        return AuditPage(records=[_answer(*each) for each in found], next=rest)

    return router


async def _search(
    writer: Writer, below: int, limit: int, since: datetime | None, matches: Callable[[AuditRecord], bool] | None
) -> tuple[list[tuple[int, AuditRecord]], int | None]:
    """A page of records, and below which number the next one begins."""
    found: list[tuple[int, AuditRecord]] = []
    looked_at = 0
    while True:
        step_length = limit + 1 if matches is None else _STEP
        step = await writer.recorded(below, step_length, since)
        found += step if matches is None else [each for each in step if matches(each[1])]
        if len(found) > limit:
            return found[:limit], found[limit - 1][0]
        if len(step) < step_length:
            return found, None
        below = step[-1][0]
        looked_at += len(step)
        if looked_at >= _MOST_LOOKED_AT:
            return found, below


def _answer(number: int, record: AuditRecord) -> AuditAnswer:
    return AuditAnswer(
        number=number,
        at=record.at,
        actor=record.actor,
        action=record.action,
        subject=record.subject,
        outcome=record.outcome,
        request_id=record.request_id,
        before=dict(record.before) if record.before is not None else None,
        after=dict(record.after) if record.after is not None else None,
    )
