"""The routes of `/v1/targets` and `/v1/health`.

Owns:      paths, methods, roles and filters.
Elsewhere: what they do (objects.py, target_drafts.py); making targets is a route of their rule (rule_routes.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from clb.control.catalogue import Thing
from clb.control.document_schemas import TargetBody, TargetPatch
from clb.control.events import utc
from clb.control.node import Node
from clb.control.object_models import HealthList, TargetAnswer, TargetHealth, TargetList
from clb.control.object_parameters import (
    After,
    Limit,
    OfBalancer,
    OfListener,
    OfRule,
    Operator,
    Owner,
    TargetId,
    Viewer,
)
from clb.control.objects import ALWAYS, ON_CHANGE, Objects, cursor, json_response, to_cursor
from clb.control.write_requests import AskedFor, Plan
from clb.store.inventory import Kind

_KIND = Kind.TARGET

HealthWord = Literal["unchecked", "checking", "healthy", "unhealthy", "ejected", "provisional"]
_Health = Annotated[HealthWord | None, Query(description="Only those in this state.")]


def target_routes(node: Node) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(prefix="/v1/targets", tags=["targets"], responses=ALWAYS)
    objects = Objects(node)
    _add_reading(router, objects)
    _add_writing(router, objects)
    return router


def health_routes(node: Node) -> APIRouter:
    """The one, for one node."""
    router = APIRouter(tags=["health"], responses=ALWAYS)
    objects = Objects(node)

    @router.get("/v1/health", response_model=HealthList)
    async def list_health(
        _: Viewer,
        load_balancer: OfBalancer = None,
        listener: OfListener = None,
        rule: OfRule = None,
        state: _Health = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """How the targets are, as this node sees them: how many are in which state, and each with the reason."""
        counts: Counter[str] = Counter()

        def fits(thing: Thing) -> bool:
            # Counts are of all, whatever page and state were asked for.
            found = node.target_state(thing.key).name.lower()
            counts[found] += 1
            return state is None or found == state

        _catalogue, found, _next = await objects.page(_KIND, _above(load_balancer, listener, rule), fits, None, 1 << 60)
        page = [thing for thing in found if thing.names > cursor(after)]
        told = [_told(node, thing) for thing in page[:limit]]
        next_page = to_cursor(page[limit - 1]) if len(page) > limit else None
        return json_response(HealthList(counts=dict(counts), targets=told, next=next_page))

    return router


def _told(node: Node, thing: Thing) -> TargetHealth:
    report = node.health.report(thing.key)
    since = node.target_since(thing.key)
    return TargetHealth(
        id=thing.id,
        target=thing.names[3],
        where=", ".join(thing.where.split(", ")[:-1]),
        state=node.target_state(thing.key).name.lower(),
        since=utc(since) if since is not None else None,
        why=(report.why or None) if report is not None else None,
        draining=thing.draining,
    )


def _above(load_balancer: str | None, listener: str | None, rule: str | None) -> tuple[Kind, str] | None:
    """The narrowest that was named."""
    for kind, named in ((Kind.RULE, rule), (Kind.LISTENER, listener), (Kind.LOAD_BALANCER, load_balancer)):
        if named is not None:
            return kind, named
    return None


def _add_reading(router: APIRouter, objects: Objects) -> None:
    @router.get("", response_model=TargetList)
    async def list_targets(
        _: Viewer,
        load_balancer: OfBalancer = None,
        listener: OfListener = None,
        rule: OfRule = None,
        address: Annotated[str | None, Query(max_length=253, description="Only those of this address.")] = None,
        health: _Health = None,
        draining: Annotated[bool | None, Query(description="Only those that drain, or that do not.")] = None,
        owner: Owner = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """Targets of the store and of the configuration file, by rule, address and port."""
        node = objects.node

        def fits(thing: Thing) -> bool:
            return (
                (load_balancer is None or thing.ids[0] == load_balancer)
                and (listener is None or thing.ids[1] == listener)
                and (address is None or thing.document.get("address") == address)
                and (health is None or node.target_state(thing.key).name.lower() == health)
                and (draining is None or thing.draining == draining)
                and (owner is None or thing.owner == owner)
            )

        above = _above(load_balancer, listener, rule)
        catalogue, found, next_page = await objects.page(_KIND, above, fits, after, limit)
        return json_response(TargetList(targets=await objects.answers(catalogue, found), next=next_page))

    @router.get("/{target_id}", response_model=TargetAnswer)
    async def show_target(target_id: TargetId, _: Viewer) -> Response:
        """A target. Its ETag is what a change of it names."""
        told = objects.show(target_id, _KIND)
        return json_response(told, told.version)


def _add_writing(router: APIRouter, objects: Objects) -> None:
    @router.put("/{target_id}", response_model=TargetAnswer | Plan, responses=ON_CHANGE)
    async def replace_target(target_id: TargetId, document: TargetBody, actor: Operator, asked: AskedFor) -> Response:
        """Set all of its keys. With another address or port it is another real server."""
        return await objects.change(target_id, _KIND, document, actor, asked)

    @router.patch("/{target_id}", response_model=TargetAnswer | Plan, responses=ON_CHANGE)
    async def change_target(target_id: TargetId, patch: TargetPatch, actor: Operator, asked: AskedFor) -> Response:
        """Set some of its keys (JSON merge patch).

        Of a target that the configuration file owns only the weight, which holds until the file has another one; null
        goes back to the file's.
        """
        return await objects.merge(target_id, _KIND, patch, actor, asked)

    @router.delete(
        "/{target_id}", status_code=204, response_class=Response, responses={200: {"model": Plan}, **ON_CHANGE}
    )
    async def remove_target(target_id: TargetId, actor: Operator, asked: AskedFor) -> Response:
        """Remove it: no new work at once, and what it works on goes on until `node.drain_timeout`."""
        return await objects.remove(target_id, _KIND, actor, asked)

    @router.post("/{target_id}/drain", response_model=TargetAnswer | Plan, responses=ON_CHANGE)
    async def drain_target(target_id: TargetId, actor: Operator, asked: AskedFor) -> Response:
        """Give it no new work; what it works on goes on. `requests_in_flight` tells how much is left."""
        return await objects.drain(target_id, actor, asked, on=True)

    @router.post("/{target_id}/undrain", response_model=TargetAnswer | Plan, responses=ON_CHANGE)
    async def undrain_target(target_id: TargetId, actor: Operator, asked: AskedFor) -> Response:
        """Give it work again, with the weight that it had."""
        return await objects.drain(target_id, actor, asked, on=False)
