"""The management app: FastAPI, with one form for every error.

Owns:      making the app; what an unforeseen failure tells (nothing but that there is a log).
Elsewhere: routes (routes.py); who may ask (guard.py). The certificates issue adds its own routers here.
Shell:     imported in the control process only; the others do without FastAPI's 15 MiB.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from clb import __version__
from clb.control.access import REQUEST_ID, api_routes, check_roles
from clb.control.audit_routes import build_audit_router
from clb.control.balancer_routes import balancer_routes
from clb.control.certificates import certificate_routes
from clb.control.export_route import export_routes
from clb.control.keyring_routes import keyring_routes
from clb.control.listener_routes import listener_routes
from clb.control.node import Node
from clb.control.openapi import complete
from clb.control.problems import PROBLEM_JSON, ApiFault, FieldProblem, problem
from clb.control.routes import Exposition, build_router
from clb.control.rule_routes import rule_routes
from clb.control.target_routes import health_routes, target_routes
from clb.control.token_routes import build_token_router
from clb.control.tokens import TokenBook
from clb.control.usage_routes import usage_routes
from clb.control.writer import CannotServe, NodeBusy
from clb.store.interface import OutcomeUnknown, StoreAway

_MOST_ERRORS: Final = 20
_SOON: Final = {"retry-after": "1"}
_CODES = {404: ("not_found", "there is nothing at this path"), 405: ("method_not_allowed", "not with this method")}

_logger = logging.getLogger(__name__)


def create_app(node: Node, exposition: Exposition, book: TokenBook) -> FastAPI:
    """The app of one node; put a Guard around it for each socket."""
    # The pages of FastAPI load scripts from elsewhere; the document itself is enough.
    app = FastAPI(
        title="clb", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )  # fmt: skip
    app.include_router(build_router(node, exposition))
    app.include_router(build_token_router(node, book))
    app.include_router(export_routes(node))
    app.include_router(build_audit_router(node))
    app.include_router(balancer_routes(node))
    app.include_router(listener_routes(node))
    app.include_router(rule_routes(node))
    app.include_router(target_routes(node))
    app.include_router(health_routes(node))
    app.include_router(usage_routes(node))
    app.include_router(certificate_routes(node))
    app.include_router(keyring_routes(node))
    add_fault_handlers(app)
    check_roles(app)
    make_document = app.openapi
    app.openapi = lambda: complete(make_document())  # type: ignore[method-assign]
    return app


def add_fault_handlers(app: FastAPI) -> None:
    """Give every failure the one form."""
    app.add_exception_handler(ApiFault, _api_fault)
    app.add_exception_handler(CannotServe, _cannot_serve)
    app.add_exception_handler(StoreAway, _store_away)
    app.add_exception_handler(OutcomeUnknown, _outcome_unknown)
    app.add_exception_handler(NodeBusy, _node_busy)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_fault)
    app.add_exception_handler(Exception, _unforeseen)


async def _api_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, ApiFault)
    return _answer(request, fault.status, fault.code, str(fault), fault.errors, fault.headers, **fault.more)


async def _cannot_serve(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, CannotServe)
    errors = [FieldProblem(each.message, each.where, each.key) for each in fault.problems]
    return _answer(request, 422, "refused", "nothing was changed: it cannot be taken into service", errors)


async def _store_away(request: Request, fault: Exception) -> JSONResponse:
    message = "the store cannot be reached, nothing was changed; try again"
    return _answer(request, 503, "store_away", message, headers=_SOON)


async def _outcome_unknown(request: Request, fault: Exception) -> JSONResponse:
    message = (
        "the connection to the store was lost during COMMIT, so this took place whole or not at all: "
        "send it again with the same Idempotency-Key, or look"
    )
    return _answer(request, 503, "outcome_unknown", message, headers=_SOON)


async def _node_busy(request: Request, fault: Exception) -> JSONResponse:
    return _answer(request, 503, "busy", f"nothing was changed: {fault}", headers=_SOON)


async def _invalid(request: Request, fault: Exception) -> JSONResponse:
    """Name each input that is wrong, without its value, which may be long or secret."""
    assert isinstance(fault, RequestValidationError)
    errors = [
        FieldProblem(error["msg"][:300], key=".".join(str(step) for step in error["loc"])[:200])
        for error in fault.errors()[:_MOST_ERRORS]
    ]
    # What the schema cannot say is of the right form and yet no value of its kind.
    status = 422 if all(error["type"] == "value_error" for error in fault.errors()) else 400
    return _answer(request, status, "invalid_input", "the request is not what this path takes", errors)


async def _http_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    code, message = _CODES.get(fault.status_code, ("refused", "the request cannot be served"))
    headers = {name.lower(): value for name, value in (fault.headers or {}).items()}
    if fault.status_code == 405:
        headers["allow"] = ", ".join(_methods(request))
    return _answer(request, fault.status_code, code, message, headers=headers)


def _methods(request: Request) -> list[str]:
    """Every method of a path; the framework tells those of its first route only."""
    matching = [route for route in api_routes(request.app.routes) if route.matches(request.scope)[0] is not Match.NONE]
    # A path of its own goes before one with an id in its place.
    fewest = min((len(route.param_convertors) for route in matching), default=0)
    methods = (route.methods or set() for route in matching if len(route.param_convertors) == fewest)
    return sorted(set().union(*methods))


async def _unforeseen(request: Request, fault: Exception) -> JSONResponse:
    name = request.scope.get(REQUEST_ID, "")
    _logger.error("management request failed: %s %s", request.url.path, name, exc_info=fault)
    return _answer(request, 500, "internal", "this is a defect of clb; its log has the trace")


def _answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    errors: Iterable[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    body = problem(status, code, message, request.scope.get(REQUEST_ID, ""), errors, **more)
    return JSONResponse(body, status, headers, PROBLEM_JSON)
