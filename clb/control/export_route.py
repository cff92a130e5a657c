"""`GET /v1/export`: the whole state as a configuration file.

Owns:      the route.
Elsewhere: the file (service/export.py); the command that completes it with secrets of the present file (cli/export.py).
"""

from __future__ import annotations

from fastapi import APIRouter, Response

from clb.control.access import requires
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.problems import ApiFault
from clb.service.export import export_in_steps
from clb.service.steps import in_steps
from clb.service.stored_models import ModelFaults
from clb.store.inventory import Role

STEP_S = 0.002
_YAML = {"schema": {"type": "object"}, "example": "load_balancers: []\n"}


def export_routes(node: Node) -> APIRouter:
    """The route, for one node."""
    router = APIRouter(responses={code: {"model": ErrorAnswer} for code in (400, 401, 403, 421, 503)})

    @router.get(
        "/v1/export",
        dependencies=[requires(Role.ADMIN)],
        response_class=Response,
        responses={
            200: {"content": {"application/yaml": {"schema": {"type": "object"}, "example": "load_balancers: []\n"}}}
        },
    )
    async def export() -> Response:
        """The node's whole state as YAML; on the same store its use changes nothing. Secrets are not in it."""
        if node.writer is None:
            raise ApiFault(503, "store_away", "it is not known yet what the store has")
        try:
            text = await in_steps(export_in_steps(node.outline, node.writer.inventory), STEP_S)
        except ModelFaults as fault:
            raise ApiFault(503, "store_unsound", f"what the store has cannot be exported: {fault}") from fault
        return Response(text, media_type="application/yaml")

    return router
