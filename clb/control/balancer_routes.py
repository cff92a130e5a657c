"""The routes of `/v1/load-balancers`.

Owns:      paths, methods, roles and filters.
Elsewhere: what they do (objects.py).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from clb.control.catalogue import Thing
from clb.control.document_schemas import ListenerBody, LoadBalancerAlone, LoadBalancerBody, LoadBalancerPatch
from clb.control.node import Node
from clb.control.object_models import ListenerAnswer, LoadBalancerAnswer, LoadBalancerList
from clb.control.object_parameters import Admin, After, BalancerId, Cascade, Limit, Named, Owner, Viewer
from clb.control.objects import ALWAYS, ON_CHANGE, ON_CREATION, Objects, json_response
from clb.control.write_requests import AskedFor, Plan
from clb.store.inventory import Kind

_KIND = Kind.LOAD_BALANCER


def balancer_routes(node: Node) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(prefix="/v1/load-balancers", tags=["load balancers"], responses=ALWAYS)
    objects = Objects(node)
    _add_reading(router, objects)
    _add_writing(router, objects)
    return router


def _add_reading(router: APIRouter, objects: Objects) -> None:
    @router.get("", response_model=LoadBalancerList)
    async def list_load_balancers(
        _: Viewer,
        name: Named = None,
        owner: Owner = None,
        region: Annotated[str | None, Query(max_length=80, description="Only those that name this region.")] = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """Load balancers of the store and of the configuration file, by name."""

        def fits(thing: Thing) -> bool:
            named = thing.document.get("region") or ()
            regions = (named,) if isinstance(named, str) else named
            return (
                (name is None or thing.names[0] == name)
                and (owner is None or thing.owner == owner)
                and (region is None or region in regions)
            )

        catalogue, found, next_page = await objects.page(_KIND, None, fits, after, limit)
        answers = await objects.answers(catalogue, found)
        return json_response(LoadBalancerList(load_balancers=answers, next=next_page))

    @router.get("/{load_balancer_id}", response_model=LoadBalancerAnswer)
    async def show_load_balancer(load_balancer_id: BalancerId, _: Viewer) -> Response:
        """A load balancer. Its ETag is what a change of it names."""
        told = objects.show(load_balancer_id, _KIND)
        return json_response(told, told.version)


def _add_writing(router: APIRouter, objects: Objects) -> None:
    @router.post(
        "", status_code=201, response_model=LoadBalancerAnswer, responses={200: {"model": Plan}, **ON_CREATION}
    )
    async def create_load_balancer(document: LoadBalancerBody, actor: Admin, asked: AskedFor) -> Response:
        """Make a load balancer with everything below it, in one write; 500 objects at most."""
        return await objects.create(None, document, actor, asked)

    @router.put("/{load_balancer_id}", response_model=LoadBalancerAnswer | Plan, responses=ON_CHANGE)
    async def replace_load_balancer(
        load_balancer_id: BalancerId, document: LoadBalancerAlone, actor: Admin, asked: AskedFor
    ) -> Response:
        """Set all of its own keys; those that are left out have their defaults. Its listeners stay."""
        return await objects.change(load_balancer_id, _KIND, document, actor, asked)

    @router.patch("/{load_balancer_id}", response_model=LoadBalancerAnswer | Plan, responses=ON_CHANGE)
    async def change_load_balancer(
        load_balancer_id: BalancerId, patch: LoadBalancerPatch, actor: Admin, asked: AskedFor
    ) -> Response:
        """Set some of its keys (JSON merge patch); null takes one back to its default."""
        return await objects.merge(load_balancer_id, _KIND, patch, actor, asked)

    @router.delete(
        "/{load_balancer_id}", status_code=204, response_class=Response,
        responses={200: {"model": Plan}, **ON_CHANGE},
    )  # fmt: skip
    async def remove_load_balancer(
        load_balancer_id: BalancerId, actor: Admin, asked: AskedFor, cascade: Cascade = False
    ) -> Response:
        """Remove it; what runs on it ends within `node.drain_timeout`."""
        return await objects.remove(load_balancer_id, _KIND, actor, asked, cascade=cascade)

    @router.post(
        "/{load_balancer_id}/listeners",
        status_code=201,
        response_model=ListenerAnswer,
        responses={200: {"model": Plan}, **ON_CREATION},
        tags=["listeners"],
    )
    async def create_listener(
        load_balancer_id: BalancerId, document: ListenerBody, actor: Admin, asked: AskedFor
    ) -> Response:
        """Make a listener with its rules and their targets, in one write."""
        return await objects.create((_KIND, load_balancer_id), document, actor, asked)
