"""The routes of the management API.

Owns:      paths, methods, bounds of every input, and which failure gives which status.
Elsewhere: who may ask (guard.py); the answers (status.py, explanation.py, observe/metrics.py).

Every handler is a coroutine that waits for nothing but the supervisor, so there are no threads and no locks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from clb.control.access import Actor, RequestId, audit, requires
from clb.control.events import HISTORY, Event, utc
from clb.control.explanation import ExplainFault, explain
from clb.control.explanation_models import LONGEST_URL, MOST_HEADERS, BadQuestion, Explanation, Question
from clb.control.models import (
    ErrorAnswer,
    EventAnswer,
    Events,
    Health,
    PlanEntry,
    Readiness,
    ReloadAnswer,
    ReloadRequest,
    Status,
)
from clb.control.node import Node, SupervisorSilent
from clb.control.problems import ApiFault
from clb.control.status import build_status
from clb.store.inventory import AuditRecord, Role

Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an Accept field to the metrics and their content type; observe/metrics.py has it."""

EVENTS_AT_ONCE = 200


def build_router(node: Node, exposition: Exposition) -> APIRouter:
    """All routes, for one node."""
    router = APIRouter(responses={code: {"model": ErrorAnswer} for code in (400, 401, 403, 421, 503)})
    _add_probes(router, node)
    _add_metrics(router, exposition)
    _add_status(router, node)
    _add_reload(router, node)
    _add_explain(router, node)
    return router


def _add_probes(router: APIRouter, node: Node) -> None:
    @router.get("/healthz")
    async def healthz() -> Health:
        """Tell that the control process is alive."""
        return Health()

    @router.get("/readyz", responses={503: {"model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """Tell whether traffic may be sent to this node."""
        reasons = node.not_ready_because()
        response.status_code = 503 if reasons else 200
        return Readiness(ready=not reasons, reasons=reasons, notes=node.notes())


def _add_metrics(router: APIRouter, exposition: Exposition) -> None:
    @router.get("/metrics", response_class=Response, dependencies=[requires(Role.VIEWER)])
    async def metrics(request: Request) -> Response:
        """Metrics as Prometheus reads them; OpenMetrics if that is asked for."""
        body, content_type = await exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})


def _add_status(router: APIRouter, node: Node) -> None:
    @router.get("/v1/status", response_model=Status, dependencies=[requires(Role.VIEWER)])
    async def status() -> Response:
        """Listeners, rules, targets, processes, certificates, what drains."""
        # Written here, or FastAPI would check our own answer once more: a second for thousands of targets.
        return Response((await build_status(node)).model_dump_json(), media_type="application/json")

    @router.get("/v1/events", dependencies=[requires(Role.VIEWER)])
    async def events(
        after: Annotated[int, Query(ge=0, le=1 << 53, description="Only events with a higher number.")] = 0,
        limit: Annotated[int, Query(ge=1, le=HISTORY)] = EVENTS_AT_ONCE,
    ) -> Events:
        """What happened, oldest first; of too many the newest."""
        found = node.events.after(after, limit)
        expected = min(after, node.events.last_number) + 1
        missed = bool(found) and found[0].number > expected
        return Events(events=[_event(each) for each in found], last_event=node.events.last_number, missed=missed)


def _event(event: Event) -> EventAnswer:
    return EventAnswer(
        number=event.number,
        at=utc(event.at),
        kind=event.kind,
        subject=event.subject,
        cause=event.cause,
        details=dict(event.details),
    )


def _add_reload(router: APIRouter, node: Node) -> None:
    @router.post("/v1/reload", responses={422: {"model": ErrorAnswer}})
    async def reload(
        actor: Annotated[Actor, requires(Role.OPERATOR)],
        request: Annotated[str, RequestId],
        wanted: ReloadRequest | None = None,
        dry_run: Annotated[bool, Query(description="Only say what would change, as `plan_only`.")] = False,
    ) -> ReloadAnswer:
        """Read the configuration again and take it up, or say what would change."""
        plan_only = dry_run or (wanted is not None and wanted.plan_only)
        try:
            reply = await node.supervisor.ask("plan" if plan_only else "reload")
        except SupervisorSilent as silent:
            raise ApiFault(503, "supervisor_silent", f"the supervisor does not answer: {silent}") from silent
        if not plan_only:
            node.trail.add(_reload_record(node, actor, request, reply))
        if not reply.get("ok", False):
            raise _refused(reply)
        return ReloadAnswer(
            done=not plan_only,
            config_version=int(reply.get("version", node.outline.version)),
            changes=[PlanEntry(**entry) for entry in map(_entry, reply.get("changes", ()))],
            warnings=[str(warning) for warning in reply.get("warnings", ())],
        )


def _reload_record(node: Node, actor: Actor, request: str, reply: Mapping[str, Any]) -> AuditRecord:
    is_ok = bool(reply.get("ok", False))
    after = {"config_version": reply.get("version"), "changes": [_entry(each) for each in reply.get("changes", ())]}
    return audit(
        actor,
        "node.reload",
        node.outline.config.node.name,
        at=utc(node.wall()),
        request_id=request,
        after=after if is_ok else {"errors": list(reply.get("errors", ()))},
        outcome="done" if is_ok else "refused",
    )


def _entry(entry: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(entry.get(name, "")) for name in ("kind", "where", "what")}


def _refused(reply: Mapping[str, Any]) -> ApiFault:
    errors = [str(error) for error in reply.get("errors", ())]
    if reply.get("code") == "busy":
        return ApiFault(409, "busy", "the node is starting or ending and takes up no configuration", errors)
    return ApiFault(422, "refused", "nothing was changed: the configuration cannot be taken into service", errors)


def _add_explain(router: APIRouter, node: Node) -> None:
    def answer(question: Question) -> Explanation:
        try:
            return explain(node, question)
        except ExplainFault as fault:
            raise ApiFault(422, fault.code, str(fault)) from fault

    @router.post("/v1/explain", dependencies=[requires(Role.VIEWER)], responses={422: {"model": ErrorAnswer}})
    async def explain_by_body(question: Question) -> Explanation:
        """Say what would become of a request, and why."""
        return answer(question)

    @router.get("/v1/explain", dependencies=[requires(Role.VIEWER)], responses={422: {"model": ErrorAnswer}})
    async def explain_by_query(
        url: Annotated[str, Query(max_length=LONGEST_URL)],
        header: Annotated[list[str], Query(max_length=MOST_HEADERS)] = [],  # noqa: B006 - FastAPI copies it
        client: Annotated[str, Query(max_length=64)] = "127.0.0.1",
        method: Annotated[str, Query(max_length=32)] = "GET",
        listener: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Explanation:
        """Say what would become of a request, and why; a header is `Name: value`, and may be given several times."""
        try:
            question = Question.from_words(url, header, client, method, listener)
        except BadQuestion as fault:
            raise ApiFault(422, "invalid_input", str(fault)) from fault
        return answer(question)
