"""The routes of `/v1/rules`, those for several targets of one among them.

Owns:      paths, methods, roles and filters.
Elsewhere: what they do (objects.py, target_drafts.py); making a rule is a route of its listener (listener_routes.py).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from clb.control.catalogue import Catalogue, Thing
from clb.control.document_schemas import RuleAlone, RulePatch, TargetBody
from clb.control.node import Node
from clb.control.object_models import (
    DeregisterRequest,
    RegisterRequest,
    RuleAnswer,
    RuleList,
    TargetAnswer,
    TargetsWritten,
    WeightsRequest,
)
from clb.control.object_parameters import After, Limit, OfBalancer, OfListener, Operator, Owner, RuleId, Viewer
from clb.control.objects import ALWAYS, ON_CHANGE, ON_CREATION, Objects, json_response
from clb.control.target_drafts import Several, deregister, register, weigh
from clb.control.write_requests import AskedFor, Plan
from clb.store.inventory import Kind

_KIND = Kind.RULE


def rule_routes(node: Node) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(prefix="/v1/rules", tags=["rules"], responses=ALWAYS)
    objects = Objects(node)
    _add_reading(router, objects)
    _add_writing(router, objects)
    _add_targets(router, objects)
    return router


def _add_reading(router: APIRouter, objects: Objects) -> None:
    @router.get("", response_model=RuleList)
    async def list_rules(
        _: Viewer,
        load_balancer: OfBalancer = None,
        listener: OfListener = None,
        domain: Annotated[str | None, Query(max_length=1024, description="Only those of this domain.")] = None,
        owner: Owner = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """Rules of the store and of the configuration file, by load balancer, listener, domain and URL."""

        def fits(thing: Thing) -> bool:
            return (
                (load_balancer is None or thing.ids[0] == load_balancer)
                and (domain is None or thing.names[2].partition(" ")[0] == domain)
                and (owner is None or thing.owner == owner)
            )

        above = (Kind.LISTENER, listener) if listener is not None else None
        if above is None and load_balancer is not None:
            above = (Kind.LOAD_BALANCER, load_balancer)
        catalogue, found, next_page = await objects.page(_KIND, above, fits, after, limit)
        return json_response(RuleList(rules=await objects.answers(catalogue, found), next=next_page))

    @router.get("/{rule_id}", response_model=RuleAnswer)
    async def show_rule(rule_id: RuleId, _: Viewer) -> Response:
        """A rule. Its ETag is what a change of it, or of several of its targets, names."""
        told = objects.show(rule_id, _KIND)
        return json_response(told, told.version)


def _add_writing(router: APIRouter, objects: Objects) -> None:
    @router.put("/{rule_id}", response_model=RuleAnswer | Plan, responses=ON_CHANGE)
    async def replace_rule(rule_id: RuleId, document: RuleAlone, actor: Operator, asked: AskedFor) -> Response:
        """Set all of its own keys; those that are left out have their defaults. Its targets stay."""
        return await objects.change(rule_id, _KIND, document, actor, asked)

    @router.patch("/{rule_id}", response_model=RuleAnswer | Plan, responses=ON_CHANGE)
    async def change_rule(rule_id: RuleId, patch: RulePatch, actor: Operator, asked: AskedFor) -> Response:
        """Set some of its keys (JSON merge patch); null takes one back to its default."""
        return await objects.merge(rule_id, _KIND, patch, actor, asked)

    @router.delete(
        "/{rule_id}", status_code=204, response_class=Response, responses={200: {"model": Plan}, **ON_CHANGE}
    )
    async def remove_rule(rule_id: RuleId, actor: Operator, asked: AskedFor) -> Response:
        """Remove it with its targets; what they work on goes on until `node.drain_timeout`."""
        return await objects.remove(rule_id, _KIND, actor, asked)


def _add_targets(router: APIRouter, objects: Objects) -> None:
    @router.post(
        "/{rule_id}/targets",
        status_code=201,
        response_model=TargetAnswer,
        responses={200: {"model": Plan}, **ON_CREATION},
        tags=["targets"],
    )
    async def create_target(rule_id: RuleId, document: TargetBody, actor: Operator, asked: AskedFor) -> Response:
        """Add a target; every worker has it when this is answered."""
        return await objects.create((_KIND, rule_id), document, actor, asked)

    @router.put(
        "/{rule_id}/targets", response_model=TargetsWritten | Plan, responses=ON_CHANGE, tags=["targets"]
    )  # fmt: skip
    async def replace_targets(rule_id: RuleId, given: RegisterRequest, actor: Operator, asked: AskedFor) -> Response:
        """Have these targets and no others. Those that stay keep their ids, connections and health."""

        def decide(catalogue: Catalogue, rule: Thing) -> Several:
            return register(catalogue, rule, given.targets, objects.now(), only=True)

        return await objects.several(rule_id, decide, "replace", actor, asked)

    @router.post(
        "/{rule_id}/targets/register", response_model=TargetsWritten | Plan, responses=ON_CHANGE, tags=["targets"]
    )
    async def register_targets(rule_id: RuleId, given: RegisterRequest, actor: Operator, asked: AskedFor) -> Response:
        """Add targets, and give those that are there already these weights; one that drains works again."""

        def decide(catalogue: Catalogue, rule: Thing) -> Several:
            return register(catalogue, rule, given.targets, objects.now())

        return await objects.several(rule_id, decide, "register", actor, asked)

    @router.post(
        "/{rule_id}/targets/deregister", response_model=TargetsWritten | Plan, responses=ON_CHANGE, tags=["targets"]
    )
    async def deregister_targets(
        rule_id: RuleId, given: DeregisterRequest, actor: Operator, asked: AskedFor
    ) -> Response:
        """Remove targets: no new work at once, and what they work on goes on until `node.drain_timeout`."""

        def decide(catalogue: Catalogue, rule: Thing) -> Several:
            return deregister(catalogue, rule, [(each.address, each.port) for each in given.targets])

        return await objects.several(rule_id, decide, "deregister", actor, asked)

    @router.post(
        "/{rule_id}/targets/weights", response_model=TargetsWritten | Plan, responses=ON_CHANGE, tags=["targets"]
    )
    async def weigh_targets(rule_id: RuleId, given: WeightsRequest, actor: Operator, asked: AskedFor) -> Response:
        """Give targets other weights."""

        def decide(catalogue: Catalogue, rule: Thing) -> Several:
            weights = {(each.address, each.port): each.weight for each in given.targets}
            return weigh(catalogue, rule, weights, objects.now())

        return await objects.several(rule_id, decide, "weigh", actor, asked)
