"""The routes of `/v1/listeners`.

Owns:      paths, methods, roles and filters.
Elsewhere: what they do (objects.py); making one is a route of its load balancer (balancer_routes.py).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from clb.control.catalogue import Thing
from clb.control.document_schemas import ListenerAlone, ListenerPatch, RuleBody
from clb.control.node import Node
from clb.control.object_models import ListenerAnswer, ListenerList, RuleAnswer
from clb.control.object_parameters import (
    Admin,
    After,
    Cascade,
    Limit,
    ListenerId,
    Named,
    OfBalancer,
    Operator,
    Owner,
    Viewer,
)
from clb.control.objects import ALWAYS, ON_CHANGE, ON_CREATION, Objects, json_response
from clb.control.write_requests import AskedFor, Plan
from clb.store.inventory import Kind

_KIND = Kind.LISTENER


def listener_routes(node: Node) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(prefix="/v1/listeners", tags=["listeners"], responses=ALWAYS)
    objects = Objects(node)
    _add_reading(router, objects)
    _add_writing(router, objects)
    return router


def _add_reading(router: APIRouter, objects: Objects) -> None:
    @router.get("", response_model=ListenerList)
    async def list_listeners(
        _: Viewer,
        load_balancer: OfBalancer = None,
        name: Named = None,
        port: Annotated[int | None, Query(ge=1, le=65535, description="Only those of this port.")] = None,
        owner: Owner = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """Listeners of the store and of the configuration file, by load balancer and name."""

        def fits(thing: Thing) -> bool:
            return (
                (name is None or thing.names[1] == name)
                and (port is None or thing.document.get("port", 443) == port)
                and (owner is None or thing.owner == owner)
            )

        above = (Kind.LOAD_BALANCER, load_balancer) if load_balancer is not None else None
        catalogue, found, next_page = await objects.page(_KIND, above, fits, after, limit)
        return json_response(ListenerList(listeners=await objects.answers(catalogue, found), next=next_page))

    @router.get("/{listener_id}", response_model=ListenerAnswer)
    async def show_listener(listener_id: ListenerId, _: Viewer) -> Response:
        """A listener. Its ETag is what a change of it names."""
        told = objects.show(listener_id, _KIND)
        return json_response(told, told.version)


def _add_writing(router: APIRouter, objects: Objects) -> None:
    @router.put("/{listener_id}", response_model=ListenerAnswer | Plan, responses=ON_CHANGE)
    async def replace_listener(
        listener_id: ListenerId, document: ListenerAlone, actor: Admin, asked: AskedFor
    ) -> Response:
        """Set all of its own keys; those that are left out have their defaults. Its rules stay."""
        return await objects.change(listener_id, _KIND, document, actor, asked)

    @router.patch("/{listener_id}", response_model=ListenerAnswer | Plan, responses=ON_CHANGE)
    async def change_listener(listener_id: ListenerId, patch: ListenerPatch, actor: Admin, asked: AskedFor) -> Response:
        """Set some of its keys (JSON merge patch); null takes one back to its default."""
        return await objects.merge(listener_id, _KIND, patch, actor, asked)

    @router.delete(
        "/{listener_id}", status_code=204, response_class=Response, responses={200: {"model": Plan}, **ON_CHANGE}
    )
    async def remove_listener(
        listener_id: ListenerId, actor: Admin, asked: AskedFor, cascade: Cascade = False
    ) -> Response:
        """Remove it; connections that it has end within `node.drain_timeout`."""
        return await objects.remove(listener_id, _KIND, actor, asked, cascade=cascade)

    @router.post(
        "/{listener_id}/rules",
        status_code=201,
        response_model=RuleAnswer,
        responses={200: {"model": Plan}, **ON_CREATION},
        tags=["rules"],
    )
    async def create_rule(listener_id: ListenerId, document: RuleBody, actor: Operator, asked: AskedFor) -> Response:
        """Make a rule with its targets, in one write. The first rule of a listener has `default: true`."""
        return await objects.create((_KIND, listener_id), document, actor, asked)
