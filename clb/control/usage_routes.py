"""The routes of `/v1/usage`: statements, as JSON or CSV, and the chain of closed hours.

Owns:      parameters and their faults, CSV.
Elsewhere: statements and the walk (usage_reports.py).
"""

from __future__ import annotations

import asyncio
import csv
import io
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response

from clb.control.access import requires
from clb.control.instants import Instant
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.problems import ApiFault
from clb.control.usage_models import Heads, Usage, UsageFigures, UsageGroup, Verification
from clb.control.usage_reports import LEVELS, STEPS, Asked, heads, statement, verify
from clb.store.inventory import Role
from clb.store.ledger import LedgerTables

_CSV: Final = {"schema": {"type": "string"}, "example": "tenant,billed_in\nacme,79\n"}
_MOST_GROUPS: Final = 10_000
_MOST_STEPS: Final = 50_000
_LONGEST: Final = 5 * 366 * 86400
_Result = TypeVar("_Result")

Every = Literal["minute", "five_minutes", "hour", "day"]


def usage_routes(node: Node) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(
        prefix="/v1/usage", tags=["usage"], dependencies=[requires(Role.VIEWER)],
        responses={code: {"model": ErrorAnswer} for code in (400, 401, 403, 421, 422, 503)},
    )  # fmt: skip

    async def ask(question: Callable[[LedgerTables], _Result]) -> _Result:
        if node.ledger is None:
            raise ApiFault(503, "starting", "this node does not know yet what the store has; try again")
        tables = node.ledger
        return await asyncio.to_thread(lambda: question(tables()))

    @router.get(
        "",
        response_model=Usage,
        responses={200: {"content": {"text/csv": _CSV}}},
    )
    async def show_usage(
        request: Request,
        begin: Annotated[
            Instant | None, Query(alias="from", description="By default when this month began, UTC.")
        ] = None,
        end: Annotated[Instant | None, Query(alias="to", description="By default now.")] = None,
        by: Annotated[
            str, Query(max_length=80, description=f"One or several of {', '.join(LEVELS)}, with commas.")
        ] = "listener",
        every: Annotated[Every | None, Query(description="In steps of this; else one sum.")] = None,
        tenant: Annotated[str | None, Query(max_length=1024, description="Only this one's.")] = None,
        of_node: Annotated[str | None, Query(alias="node", max_length=255, description="Only this one's.")] = None,
        after: Annotated[str | None, Query(max_length=8192, description="The last page's next.")] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_GROUPS)] = 1000,
    ) -> Response:
        """What was billed, and what else crossed the wire. With `Accept: text/csv` as CSV."""
        asked = _asked(node.wall(), begin, end, by, every, tenant, of_node)
        told = await ask(lambda tables: statement(tables, asked, _cursor(after), limit))
        if told.next is not None:
            told = told.model_copy(update={"next": urlsafe_b64encode(told.next.encode()).decode().rstrip("=")})
        if "text/csv" in request.headers.get("accept", ""):
            return Response(as_csv(told), media_type="text/csv; charset=utf-8")
        return Response(told.model_dump_json(), media_type="application/json")

    @router.get("/verify", response_model=Verification)
    async def verify_usage() -> Response:
        """Walk the chains of closed hours of all nodes, and name the hour where one does not hold."""
        keyring = node.keyring.keyring
        told = await ask(lambda tables: verify(tables, keyring.public_key if keyring is not None else lambda _: None))
        return Response(told.model_dump_json(), media_type="application/json")

    @router.get("/head", response_model=Heads)
    async def show_heads() -> Response:
        """The newest signed link of each node: keep it elsewhere, and `clb usage verify --head` compares."""
        return Response((await ask(heads)).model_dump_json(), media_type="application/json")

    return router


def _asked(
    now: float,
    begin: datetime | None,
    end: datetime | None,
    by: str,
    every: str | None,
    tenant: str | None,
    node: str | None,
) -> Asked:
    levels = tuple(dict.fromkeys(each.strip() for each in by.split(",")))
    for level in levels:
        if level not in LEVELS:
            raise ApiFault(422, "invalid_input", f"by: {level!r} is none of {', '.join(LEVELS)}")
    at = datetime.fromtimestamp(now, UTC)
    first = int((begin or at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)).timestamp())
    last = int((end or at).timestamp())
    # The minute that is under way is whole to whoever asks for now.
    last += 59 if end is None else 0
    if not 0 <= first < last or last - first > _LONGEST:
        raise ApiFault(422, "invalid_input", "from must be before to, and at most five years")
    if every is not None and (last - first) // STEPS[every] > _MOST_STEPS:
        raise ApiFault(422, "invalid_input", f"these are more than {_MOST_STEPS} steps; ask for a shorter time")
    return Asked(first, last, levels, every, tenant, node)


def _cursor(after: str | None) -> str | None:
    if after is None:
        return None
    try:
        return urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode("utf-8")
    except ValueError:
        raise ApiFault(422, "bad_cursor", "after is not the next of a page; begin without it") from None


def as_csv(told: Usage) -> str:
    """A line for each group; the head names the figures."""
    names = [name for name in UsageFigures.model_fields if name != "requests"]
    head = [*(["start"] if any(each.start for each in told.groups) else []), *told.by]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *names, "requests"])
    for group in told.groups:
        writer.writerow(
            [*(_cell(group, name) for name in head), *(getattr(group, name) for name in names), _asked_for(group)]
        )
    return text.getvalue()


def _cell(group: UsageGroup, name: str) -> str:
    value = getattr(group, name)
    text = value.isoformat() if isinstance(value, datetime) else str(value or "")
    # A spreadsheet would take it for a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def _asked_for(group: UsageGroup) -> int:
    return sum(group.requests.values())
